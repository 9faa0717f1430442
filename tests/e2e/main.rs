//! End-to-end stories: what a sceptical user would do, told through the lab, on real parts.
//!
//! Those of one process share a lab, of a profile of its own, which the first story brings up and the last takes down; so
//! they run one at a time (`--test-threads=1`). `cargo lab test e2e` has two processes, each with a lab and a part of the
//! stories. Each story leaves only hello-world with one instance.

#![cfg(test)]

mod answer;
mod bad_input;
mod blow;
mod built_in;
mod datagrams;
mod direct;
mod engine;
mod engine_trouble;
mod guarded;
mod host_ports;
mod hostile_logs;
mod inside;
mod interrupted;
mod intruder;
mod ipv6;
mod job_without_service;
mod lives_on;
mod many_services;
mod meddled;
mod own_engine;
mod own_kernel;
mod own_registry;
mod restarts;
mod rolling;
mod shell;
mod story;
mod task;
mod zz_down;
