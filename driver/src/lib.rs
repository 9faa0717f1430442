//! Nomad task driver that runs containers through the Docker socket.
//!
//! ```text
//!  agent ─▶ driver ─▶ config      what the agent and the job ask for, checked
//!                 ├─▶ spec        (pure) task + options + plugin configuration ─▶ container
//!                 ├─▶ stage       bind sources below the allocation, where no container can change them
//!                 ├─▶ image       present, or pulled
//!                 ├─▶ engine      the port to Docker; `engine::docker` is the real one
//!                 └─▶ task        one container from start or recovery to its exit
//!                       ├─▶ logs  its output into the agent's FIFOs
//!                       └─▶ exit  seen by pidfd, confirmed by Docker
//!      fingerprint, stats, exec, reap, file_work, watchdog: beside the tasks
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )
)]

pub mod agent;
pub mod announce;
pub mod config;
pub mod driver;
pub mod engine;
pub mod exec;
pub mod file_work;
pub mod fingerprint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod image;
pub mod logs;
pub mod name;
pub mod open_files;
pub mod pattern;
mod pidfd;
pub mod reap;
mod small_file;
pub mod spec;
pub mod stage;
pub mod stats;
pub mod task;
pub mod watchdog;
