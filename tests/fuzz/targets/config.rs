//! See [`ipvs_syncer::fuzz::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipvs_syncer::fuzz::config(data));
