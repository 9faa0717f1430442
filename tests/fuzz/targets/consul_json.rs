//! See [`ipvs_syncer::fuzz::consul_json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipvs_syncer::fuzz::consul_json(data));
