//! What a director decides, from what it knows: a core that can't do I/O.
//!
//! ```text
//!  Catalog, Fleet, hints ──▶ desired ──▶ guard ──▶ plan ──▶ steps
//!  └──────────────────────────── pass ────────────────────────┘ ◀── readings and outcomes of the data plane
//! ```
//!
//! [`model`] has the words, [`tags`] and [`options`] read what services ask for, [`desired`] says what should be, [`guard`] holds
//! sudden losses back, [`plan`] finds the steps, and [`pass`] is the life of a director as a value that somebody else
//! drives. There is no clock here, no file, no socket, no runtime and no log: moments come in as arguments, and what a
//! person should read goes out as values. The daemon's loop and the seeded simulation drive the same code.

pub mod backoff;
pub mod desired;
pub mod guard;
pub mod memory;
pub mod model;
pub mod options;
pub mod pass;
pub mod plan;
pub mod reading;
pub mod tags;
