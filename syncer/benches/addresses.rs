//! How long VIPs take to come onto an interface, beside `ip -batch` and one `ip` a VIP: in a network namespace of its own,
//! each in turn, as root.
//!
//! `cargo bench -p ipvs-syncer --bench addresses --profile dev`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks to its terminal and knows its input"
)]

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipvs_syncer::dataplane::address::{Change, Interface, Outcome};
use nix::sched::{CloneFlags, unshare};

const INTERFACE: &str = "eth0";
const VIPS: u8 = 100;
const ROUNDS: usize = 40;

fn main() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let veth = ["type", "veth", "peer", "name", "peer"];
    ip(&[&["link", "add", INTERFACE], &veth[..]].concat(), "");
    ip(&["link", "set", "peer", "up"], "");
    ip(&["link", "set", INTERFACE, "up"], "");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let interface = Interface::open(INTERFACE).unwrap();
    let vips: Vec<IpAddr> = (1..=VIPS).map(|n| IpAddr::from([198, 18, 0, n])).collect();
    let lines: Vec<String> = vips.iter().map(|vip| line(*vip).join(" ")).collect();
    let lines = lines.join("\n");
    let (mut batch, mut each, mut netlink) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        batch.push(timed(|| ip(&["-batch", "-"], &lines)));
        flush();
        netlink.push(timed(|| {
            let changes = vips.iter().copied().map(Change::Add).collect();
            let outcomes = runtime.block_on(interface.change(changes)).unwrap();
            let added = |outcome: &Result<Outcome, _>| matches!(outcome, Ok(Outcome::Done));
            assert!(outcomes.len() == vips.len() && outcomes.iter().all(added));
        }));
        flush();
        if round % 10 == 0 {
            each.push(timed(|| vips.iter().for_each(|vip| ip(&line(*vip), ""))));
            flush();
        }
    }
    let [batch, each, netlink] = [batch, each, netlink].map(median);
    let ratio = netlink.as_secs_f64() / batch.as_secs_f64();
    println!(
        "{VIPS} VIPs, median of {ROUNDS}: netlink {netlink:.2?}, ip -batch {batch:.2?}, one ip each {each:.2?}"
    );
    println!("netlink / ip -batch = {ratio:.3}");
}

fn line(vip: IpAddr) -> [String; 7] {
    let label = format!("{INTERFACE}:ipvs");
    let words = [
        "address",
        "add",
        &format!("{vip}/32"),
        "dev",
        INTERFACE,
        "label",
        &label,
    ];
    words.map(str::to_owned)
}

fn flush() {
    ip(
        &[
            "address",
            "flush",
            "dev",
            INTERFACE,
            "label",
            &format!("{INTERFACE}:ipvs"),
        ],
        "",
    );
}

fn ip(arguments: &[impl AsRef<std::ffi::OsStr>], input: &str) {
    let mut command = Command::new("ip");
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
