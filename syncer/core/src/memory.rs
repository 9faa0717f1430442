//! What a director remembers from one process to the next. How it gets onto a disk is somebody else's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::desired::SavedTable;
use crate::plan::Drains;

/// The last applied table, open drains, and which addresses are ours.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    pub services: SavedTable,
    pub drains: Drains,
    /// The addresses that we put on the interface.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether nobody knows any more which addresses an earlier process has added. It is never written.
    pub addresses_lost: bool,
}
