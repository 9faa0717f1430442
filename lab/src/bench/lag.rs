//! From the moment Consul's answer arrives to the moment the kernel is programmed.
//!
//! Both ends are seen by a watcher inside the director's kernel, never by the syncer: a relay before Consul notes
//! when each answer's last byte was passed on, and a second reader asks the kernel for the table all the time. The
//! syncer runs against the relay meanwhile. Two hundred changes of one instance's health are made from outside.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use ipvs::{Client, Kernel as _, ServiceId};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::line;
use crate::context::Lab;
use crate::part::syncer;
use crate::ui;

const CHANGES: usize = 200;

/// Where the relay listens, in the guest only.
const RELAY: &str = "127.0.0.1:18500";

/// The service whose health is changed.
const SERVICE: &str = "lag-probe";

/// Times between an answer and the change it caused, later than which they don't belong together.
const APART: Duration = Duration::from_millis(500);

pub(super) fn measure(lab: &Lab) -> Result<Vec<String>> {
    let program = std::env::current_exe()
        .context("find the own program")?
        .display()
        .to_string();
    let vip = format!("{}:80", lab.topology.third_vip());
    let real = lab.topology.node_address(crate::topology::Node::Node1);
    register(lab, &real.to_string(), &vip)?;
    let consul = lab.topology.consul_url();
    let target = consul.trim_start_matches("http://");
    let watch = [
        program.as_str(),
        "internal",
        "watch-lag",
        target,
        vip.as_str(),
    ];
    let changes = std::thread::scope(|scope| {
        // The relay is the watcher's: the syncer can only be ready after it.
        let watching = scope.spawn(|| lab.kernel.capture(&watch));
        let changed = syncer::director_restart(lab, Some(&format!("http://{RELAY}")))
            .and_then(|()| change(lab));
        let watched = watching
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the watcher's thread panicked")));
        changed.and(watched)
    });
    // Whatever came of it, the syncer goes back to the real Consul and the probe goes.
    let restored = syncer::director_restart(lab, None).and_then(|()| deregister(lab));
    let output = changes?;
    restored?;
    ensure!(output.code == 0, "the watcher: {}", output.stderr.trim());
    let millis: Vec<f64> =
        serde_json::from_str(output.stdout.trim()).context("read the watcher's answer")?;
    Ok(vec![line("Consul's answer → kernel programmed", millis)])
}

fn put(lab: &Lab, path: &str, body: &serde_json::Value) -> Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .build()
        .into();
    let url = format!("{}/v1/agent/{path}", lab.topology.consul_url());
    agent
        .put(&url)
        .send_json(body)
        .with_context(|| format!("PUT {url}"))
        .map(drop)
}

fn register(lab: &Lab, address: &str, vip: &str) -> Result<()> {
    let body = serde_json::json!({
        "ID": SERVICE, "Name": SERVICE, "Address": address, "Port": 4646,
        "Tags": [format!("ipvs.vip={vip}"), "ipvs.scheduler=rr", "ipvs.forward=masq"],
        "Check": { "CheckID": SERVICE, "TTL": "10m", "Status": "passing" },
    });
    put(lab, "service/register", &body)
}

fn deregister(lab: &Lab) -> Result<()> {
    put(
        lab,
        &format!("service/deregister/{SERVICE}"),
        &serde_json::Value::Null,
    )
}

/// Passing and critical in turn: weight up, weight 0.
fn change(lab: &Lab) -> Result<()> {
    std::thread::sleep(Duration::from_secs(3));
    for number in 0..CHANGES {
        let state = if number % 2 == 0 {
            "critical"
        } else {
            "passing"
        };
        put(
            lab,
            &format!("check/update/{SERVICE}"),
            &serde_json::json!({ "Status": state }),
        )?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Runs inside the director's kernel: relays, reads, and prints the milliseconds of each change as JSON.
pub fn watch(consul: &str, vip: &str) -> Result<()> {
    let consul: SocketAddr = consul.parse().context("Consul's address")?;
    let listener = TcpListener::bind(RELAY).with_context(|| format!("listen on {RELAY}"))?;
    let (note, answers) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let note = note.clone();
            std::thread::spawn(move || relay(connection, consul, &note));
        }
    });
    give_way()?;
    let mut kernel = Client::open()?;
    let service: ServiceId = vip.parse().context("the VIP")?;
    let mut last = weight(&mut kernel, &service)?;
    let mut millis = Vec::new();
    let end = Instant::now() + Duration::from_mins(1);
    while millis.len() < CHANGES && Instant::now() < end {
        let Ok(mut answered) = answers.recv_timeout(APART) else {
            continue;
        };
        while answered.elapsed() < APART {
            // Answers come in pieces: the last piece before the change is the one that made it whole.
            while let Ok(later) = answers.try_recv() {
                answered = later;
            }
            let found = weight(&mut kernel, &service)?;
            let now = Instant::now();
            if found != last {
                if last.is_some() && found.is_some() {
                    millis.push((now - answered).as_secs_f64() * 1000.0);
                }
                last = found;
                break;
            }
        }
    }
    ensure!(
        millis.len() >= CHANGES * 9 / 10,
        "only {} of {CHANGES} changes were seen",
        millis.len()
    );
    ui::print(&serde_json::to_string(&millis)?);
    Ok(())
}

/// The guest has one processor: a reader that competes for it measures itself. This one runs when nobody else wants to.
fn give_way() -> Result<()> {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
        .map_err(|error| anyhow!("let the reader give way: {error}"))
}

fn weight(kernel: &mut Client, service: &ServiceId) -> Result<Option<u32>> {
    let reals = kernel.reals(service)?;
    Ok(reals.first().map(|(real, _)| real.weight.get()))
}

/// Passes bytes both ways; notes when bytes came back from Consul.
fn relay(near: TcpStream, consul: SocketAddr, note: &Sender<Instant>) {
    let Ok(far) = TcpStream::connect(consul) else {
        return;
    };
    let (Ok(mut near_in), Ok(mut far_out)) = (near.try_clone(), far.try_clone()) else {
        return;
    };
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut near_in, &mut far_out);
    });
    let (mut far, mut near) = (far, near);
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = far.read(&mut bytes) {
        let _ = note.send(Instant::now());
        if near.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}
