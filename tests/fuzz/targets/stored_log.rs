//! See [`docker_ipvs::fuzz::stored_log`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| docker_ipvs::fuzz::stored_log(data));
