//! See [`docker_ipvs::fuzz::msgpack`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| docker_ipvs::fuzz::msgpack(data));
