//! The machine: its namespaces, control groups, processes, files and programs, and who the person is at whose wish all runs.
//!
//! Knows no lab: a namespace is a name here, and a process is a pid that can't be mistaken for a later one.

pub mod address;
pub mod cgroup;
pub mod command;
pub mod descriptors;
pub mod lock;
pub mod netns;
pub mod paths;
pub mod privilege;
pub mod proc;
pub mod process;
pub mod programs;
pub mod record;
pub mod stream;
pub mod wait;
