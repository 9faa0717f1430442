//! See [`docker_ipvs::fuzz::hclspec`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| docker_ipvs::fuzz::hclspec(data));
