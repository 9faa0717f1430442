//! How anything is shown to a person: lines of steps, JSON for programs, and text that can't move a terminal's cursor.

pub mod plain;
pub mod ui;
