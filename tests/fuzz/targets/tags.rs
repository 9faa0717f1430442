//! See [`ipvs_syncer::fuzz::tags`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipvs_syncer::fuzz::tags(data));
