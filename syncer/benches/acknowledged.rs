//! From Consul's answer to the kernel: how long until a second reader sees a change in IPVS.
//!
//! Runs as root on a kernel with `ip_vs`, beside a real Consul agent and this package's daemon:
//!
//! `acknowledged CONSUL_ADDRESS IPVS_SYNCER [CHANGES]`
//!
//! A relay stands between daemon and Consul and notes when an answer with the new weight arrives. Each change gives the
//! only instance of a service another weight; a reader asks the kernel for it all the time. The time from the answer's
//! arrival to the sight of the new weight is what is measured: it holds the relay's own way, decoding, planning,
//! programming and the reader's round, and so is an upper bound.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks to its terminal and knows its input"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipvs::{Client, Kernel, ServiceId};

const VIP: &str = "198.18.0.77:80";
const SERVICE: &str = "acknowledged";

/// Nanoseconds since the start when the awaited weight came from Consul; 0: not yet.
static ARRIVED: AtomicU64 = AtomicU64::new(0);
/// The weight of the last change.
static AWAITED: AtomicU64 = AtomicU64::new(0);

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let [consul, daemon, rest @ ..] = arguments.as_slice() else {
        println!("usage: acknowledged CONSUL_ADDRESS IPVS_SYNCER [CHANGES]");
        return;
    };
    let consul: SocketAddr = consul.parse().unwrap();
    let changes: u32 = rest.first().map_or(200, |changes| changes.parse().unwrap());
    let start = Instant::now();
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let relayed = relay.local_addr().unwrap();
    thread::spawn(move || serve(&relay, consul, start));
    register(consul, 1);
    let state = std::env::temp_dir().join(format!("acknowledged-{}", std::process::id()));
    std::fs::create_dir_all(&state).unwrap();
    let config = state.join("config.hcl");
    let text = format!(
        "state_dir = \"{}\"\nconsul {{ address = \"http://{relayed}\" }}\n\
         status {{\n listen = \"127.0.0.1:9177\"\n}}\n\
         director {{\n interface = \"lo\"\n own = [\"198.18.0.77/32\"]\n}}\n\
         service \"{SERVICE}\" {{\n vip = \"{VIP}\"\n}}\n",
        state.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(daemon)
        .arg("agent")
        .arg("--config")
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut kernel = Client::open().unwrap();
    let id: ServiceId = VIP.parse().unwrap();
    wait(&mut kernel, &id, 1);
    let mut times: Vec<Duration> = Vec::new();
    for change in 0..changes {
        thread::sleep(Duration::from_millis(60));
        let weight = 2 + change % 1_000;
        ARRIVED.store(0, Ordering::SeqCst);
        AWAITED.store(u64::from(weight), Ordering::SeqCst);
        // Consul may tell watchers before it answers whoever registers: look meanwhile.
        let registering = thread::spawn(move || register(consul, weight));
        let seen = wait(&mut kernel, &id, weight);
        registering.join().unwrap();
        assert!(
            ARRIVED.load(Ordering::SeqCst) != 0,
            "the kernel knew before Consul said it"
        );
        let arrived = start + Duration::from_nanos(ARRIVED.load(Ordering::SeqCst));
        times.push(seen.saturating_duration_since(arrived));
    }
    println!(
        "as the daemon itself counts, to the acknowledgement:\n{}",
        own_figures()
    );
    child.kill().unwrap();
    child.wait().unwrap();
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "changes {changes}: median {:.2?}, p90 {:.2?}, p99 {:.2?}, max {:.2?}",
        at(50),
        at(90),
        at(99),
        at(100)
    );
    let _ = std::fs::remove_dir_all(&state);
}

/// Microseconds, from the daemon's metrics.
fn own_figures() -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9177").unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: syncer\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let ours: Vec<&str> = answer
        .lines()
        .filter(|line| line.contains("kernel_ack"))
        .collect();
    ours.join("\n")
}

/// Until the kernel has that weight; when it was seen.
fn wait(kernel: &mut Client, id: &ServiceId, weight: u32) -> Instant {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let reals = kernel.reals(id).unwrap();
        let now = Instant::now();
        if reals
            .first()
            .is_some_and(|(real, _)| real.weight.get() == weight)
        {
            return now;
        }
        assert!(now < limit, "weight {weight} never came: {reals:?}");

        thread::sleep(Duration::from_micros(200));
    }
}

/// An instance with a check that has passed, so that it is not tried first.
fn register(consul: SocketAddr, weight: u32) {
    let body = format!(
        r#"{{"ID":"{SERVICE}","Name":"{SERVICE}","Address":"198.18.0.11","Port":20000,
            "Weights":{{"Passing":{weight},"Warning":1}},"Check":{{"TTL":"1h","Status":"passing"}}}}"#
    );
    let mut stream = TcpStream::connect(consul).unwrap();
    write!(
        stream,
        "PUT /v1/agent/service/register HTTP/1.1\r\nHost: consul\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn serve(relay: &TcpListener, consul: SocketAddr, start: Instant) {
    for client in relay.incoming() {
        let client = client.unwrap();
        let server = TcpStream::connect(consul).unwrap();
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || copy(from, to, |_| {}));
        thread::spawn(move || {
            copy(server, client, |bytes| {
                if !tells(bytes, AWAITED.load(Ordering::SeqCst)) {
                    return;
                }
                let now = u64::try_from(start.elapsed().as_nanos()).unwrap();
                let _ = ARRIVED.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
            });
        });
    }
}

/// Whether these bytes of an answer hold that weight; a small answer comes in one piece.
fn tells(bytes: &[u8], weight: u64) -> bool {
    let plain: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let wanted = format!("\"Passing\":{weight},");
    plain
        .windows(wanted.len())
        .any(|window| window == wanted.as_bytes())
}

fn copy(mut from: TcpStream, mut to: TcpStream, arrived: impl Fn(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    to.set_nodelay(true).unwrap();
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 {
            break;
        }
        arrived(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}
