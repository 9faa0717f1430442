//! A seeded world of Nomad, Consul, a kernel, clocks and crashes around the pure core: a million events.
//!
//! Truth changes; sources deliver snapshots of it late, or not at all; the daemon runs passes, is killed between any
//! two steps, loses its memory or its kernel, and somebody else meddles. From time to time everything heals, and then
//! the table must be what an oracle says that was written from the rule's table, not from the code.
//!
//! A failure prints its seed: `SIMULATION_SEED=… SIMULATION_EVENTS=… cargo test -p syncer-core --test simulation`.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may")]

mod daemon;
mod oracle;
mod random;
mod truth;
mod world;

use world::World;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn a_million_events_never_break_a_promise() {
    let events = setting("SIMULATION_EVENTS", 1_000_000);
    let (seeds, only) = match std::env::var("SIMULATION_SEED") {
        Ok(seed) => (1, Some(seed.parse().unwrap())),
        Err(_) => (50, None),
    };
    for seed in 0..seeds {
        let seed = only.unwrap_or(seed);
        let mut world = World::new(seed);
        let ran =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(events / seeds)));
        if ran.is_err() {
            println!(
                "SIMULATION_SEED={seed}, after event {}:\n{}",
                world.events,
                world.story()
            );
        }
        assert!(ran.is_ok(), "SIMULATION_SEED={seed}");
    }
}
