//! Does somebody else listen where a part is going to, and which process is it?
//!
//! All parts listen inside namespaces of the lab's own, so this can only happen to an `up` that mends: something
//! that was run on a node took a port while the part was away. "Port in use" is half an answer; the other half is
//! had by reading the namespace's socket tables through `/proc/<process>/net` and looking for the socket among the open
//! files of all processes. Not for UDP, and not for ports behind a translation.

use std::fmt;
use std::path::Path;

use procfs::net::{TcpNetEntries, TcpState};
use procfs::process::{FDTarget, Process};
use procfs::{FromReadSI, current_system_info};

use super::finding::Finding;
use crate::host::{netns, proc};

/// Ports that a part needs and doesn't hold itself just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub part: String,
    pub ports: &'static [u16],
    /// Name of the network namespace.
    pub netns: String,
}

/// One finding for all needs.
pub(super) fn taken(needs: &[Need]) -> Finding {
    const NAME: &str = "ports";
    let mut found = Vec::new();
    let mut remedies = Vec::new();
    for Need { part, ports, netns } in needs {
        // The tables of any process inside are the namespace's. Where nobody lives, nobody listens.
        let Some(&inside) = netns::pids(netns).first() else {
            continue;
        };
        for port in *ports {
            let by = match holder_of(*port, Some(inside)) {
                Port::Free => continue,
                Port::HeldBySomebody => {
                    remedies.push(format!("ss -lntp in {netns} may tell who it is"));
                    "somebody".to_owned()
                }
                Port::Held(holder) => {
                    remedies.push(format!("kill {}", holder.pid));
                    holder.to_string()
                }
            };
            found.push(format!("{part}'s port {port} is in use by {by}"));
        }
    }
    if found.is_empty() {
        return Finding::ok(NAME, "free");
    }
    remedies.dedup();
    let remedy = format!(
        "end what listens there ({}), or `cargo lab down`",
        remedies.join("; ")
    );
    Finding::missing(NAME, found.join("; "), remedy)
}

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: i32,
    /// The process's name, at most 15 bytes of it as the kernel keeps it.
    name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// What is known of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Port {
    Free,
    Held(Holder),
    /// Somebody listens, in a process that we may not look into.
    HeldBySomebody,
}

/// Who listens on `port`, on whatever address, in the network namespace of process or thread `inside`
/// (`None`: our own).
fn holder_of(port: u16, inside: Option<i32>) -> Port {
    let tables = inside.map_or_else(
        || "/proc/thread-self/net".to_owned(),
        |pid| format!("/proc/{pid}/net"),
    );
    let sockets: Vec<u64> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|name| {
            TcpNetEntries::from_file(Path::new(&tables).join(name), current_system_info()).ok()
        })
        .flat_map(|table| listening_on(port, table))
        .collect();
    if sockets.is_empty() {
        return Port::Free;
    }
    process_with(&sockets).map_or(Port::HeldBySomebody, Port::Held)
}

/// Inodes of the sockets that listen on a port.
fn listening_on(port: u16, TcpNetEntries(table): TcpNetEntries) -> impl Iterator<Item = u64> {
    let holders = table
        .into_iter()
        .filter(move |entry| entry.state == TcpState::Listen && entry.local_address.port() == port);
    holders.map(|entry| entry.inode)
}

/// The first process that has one of these open.
fn process_with(sockets: &[u64]) -> Option<Holder> {
    let holds = |process: &Process| {
        let files = process.fd().into_iter().flatten().flatten();
        let mut targets = files.map(|file| file.target);
        targets.any(|target| matches!(target, FDTarget::Socket(inode) if sockets.contains(&inode)))
    };
    let mut processes = procfs::process::all_processes().ok()?.flatten();
    let holder = processes.find(holds)?;
    Some(Holder {
        pid: holder.pid,
        name: proc::name(holder.pid).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
    };

    use procfs::FromBufReadSI;

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1684 1 000000008f611f9f 100 0 0 10 0
   1: 020200C0:07E8 507100CB:01BB 01 00000000:00000000 00:00000000 00000000     0        0 22246 1 000000000139d48c 21 4 1 76 148
   2: 0100007F:2134 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1
";

    fn found(port: u16, table: &str) -> Vec<u64> {
        let table =
            TcpNetEntries::from_buf_read(table.as_bytes(), current_system_info()).into_iter();
        table.flat_map(|table| listening_on(port, table)).collect()
    }

    #[test]
    fn only_sockets_that_listen_hold_a_port() {
        assert_eq!(found(2024, TABLE), [1684]);
        assert_eq!(found(8500, TABLE), [77]);
        assert_eq!(found(443, TABLE), Vec::<u64>::new());
        assert_eq!(found(8500, "header\nnonsense\n\n"), Vec::<u64>::new());
    }

    #[test]
    fn where_no_process_lives_every_port_is_free() {
        let need = Need {
            part: "consul".to_owned(),
            ports: &[8500],
            netns: "nomad-ipvs-of-nobody".to_owned(),
        };
        assert_eq!(taken(&[need]), Finding::ok("ports", "free"));
    }

    /// Bound first, listening later: a listener that is closed may live on for a moment, in a child that another test
    /// has forked and that has not executed its program yet.
    #[test]
    fn the_holder_of_a_port_is_named_once_it_listens() {
        let stream = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, stream, None).unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        let port = getsockname::<SockaddrIn>(socket.as_raw_fd())
            .unwrap()
            .port();
        assert_eq!(holder_of(port, None), Port::Free);
        listen(&socket, Backlog::MAXCONN).unwrap();
        let Port::Held(holder) = holder_of(port, None) else {
            panic!("port {port} is ours")
        };
        assert_eq!(u32::try_from(holder.pid), Ok(std::process::id()));
        assert!(
            holder
                .to_string()
                .ends_with(&format!("(pid {})", std::process::id()))
        );
    }
}
