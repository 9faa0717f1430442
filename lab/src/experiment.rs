//! What is tried in a lab: faults under load ([`chaos`]) and figures ([`bench`]).

pub mod bench;
pub mod chaos;
