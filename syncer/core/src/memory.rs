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
    /// Those that we put on the interface.
    pub addresses: BTreeSet<IpAddr>,
    /// There was an earlier process, and which addresses it added is not known any more. Never written.
    pub addresses_lost: bool,
}
