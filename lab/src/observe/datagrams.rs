//! A steady stream of datagrams from one port that never changes, to a server that says who it is and whom it sees (`echo:1`).
//!
//! Open loop: datagram *i* leaves at *i* / rate, whatever became of earlier ones. Nothing is sent twice, so that what the way loses
//! is counted as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::host::netns;

/// How long an answer may take; later is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often whoever listens looks whether it is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What to send, and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: SocketAddr,
    /// Datagrams a second.
    pub rate: u32,
    /// Network namespace to send from.
    pub netns: String,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its name.
    pub server: String,
    /// Whom it saw.
    pub seen: SocketAddr,
}

/// Answers by number of the datagram. Those from elsewhere than where it was sent are no answers.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    by_number: BTreeMap<u64, Answer>,
    from_elsewhere: u64,
}

/// Datagrams without an answer that followed each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// Seconds after the start when the first of them left.
    pub at: f64,
    pub lost: u64,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub sent: u64,
    pub rate: u32,
    pub answers: Answers,
}

/// A stream under way.
#[derive(Debug)]
pub struct Stream {
    /// Where it sends from.
    pub client: SocketAddr,
    rate: u32,
    shared: Arc<Shared>,
    threads: [JoinHandle<Result<()>>; 2],
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    answers: Mutex<Answers>,
}

/// Starts sending; goes on until [`Stream::stop`].
pub fn start(plan: &Plan) -> Result<Stream> {
    let socket = netns::within(&plan.netns, || bound(plan.target))??;
    let client = socket.local_addr().context("find the own port")?;
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        answers: Mutex::default(),
    });
    let (target, rate) = (plan.target, plan.rate);
    let (ears, listening) = (socket.try_clone()?, Arc::clone(&shared));
    let listener = std::thread::spawn(move || listen(&ears, target, &listening));
    let sending = Arc::clone(&shared);
    let sender = std::thread::spawn(move || send(&socket, target, rate, &sending));
    Ok(Stream {
        client,
        rate,
        shared,
        threads: [sender, listener],
    })
}

/// A socket with the address that this namespace sends from to `target`. Not connected: what others answer has to be seen.
fn bound(target: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0)).context("bind")?;
    probe.connect(target).context("find the way")?;
    let own = probe.local_addr().context("find the own address")?.ip();
    let socket = UdpSocket::bind((own, 0)).context("bind")?;
    socket
        .set_read_timeout(Some(LOOK_INTERVAL))
        .context("set a time-out")?;
    Ok(socket)
}

fn send(socket: &UdpSocket, target: SocketAddr, rate: u32, shared: &Shared) -> Result<()> {
    let started = Instant::now();
    while !shared.stop.load(Ordering::Acquire) {
        let number = shared.sent.load(Ordering::Relaxed);
        let due = started + Duration::from_micros(number * 1_000_000 / u64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        socket
            .send_to(number.to_string().as_bytes(), target)
            .context("send")?;
        shared.sent.fetch_add(1, Ordering::Release);
    }
    Ok(())
}

fn listen(socket: &UdpSocket, target: SocketAddr, shared: &Shared) -> Result<()> {
    let mut datagram = [0; 1024];
    let mut end = None;
    while end.is_none_or(|end| Instant::now() < end) {
        if end.is_none() && shared.stop.load(Ordering::Acquire) {
            end = Some(Instant::now() + PATIENCE);
        }
        match socket.recv_from(&mut datagram) {
            Ok((length, from)) => {
                let bytes = datagram.get(..length).unwrap_or_default();
                shared.answers().take(from == target, bytes);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("receive"),
        }
    }
    Ok(())
}

impl Shared {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// The answer to the latest datagram that has one, with the number of that datagram.
    pub fn latest(&self) -> Option<(u64, Answer)> {
        let answers = self.shared.answers();
        let (number, answer) = answers.by_number.last_key_value()?;
        Some((*number, answer.clone()))
    }

    /// Datagrams that have been sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// Sends no more, waits for the last answers, and counts.
    pub fn stop(self) -> Result<Outcome> {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of the stream panicked"))??;
        }
        Ok(Outcome {
            sent: self.shared.sent.load(Ordering::Acquire),
            rate: self.rate,
            answers: self.shared.answers().clone(),
        })
    }
}

impl Answers {
    fn take(&mut self, from_target: bool, bytes: &[u8]) {
        match read(bytes).filter(|_| from_target) {
            Some((number, answer)) => drop(self.by_number.insert(number, answer)),
            None => self.from_elsewhere += 1,
        }
    }
}

/// `CLIENT NAME NUMBER`
fn read(bytes: &[u8]) -> Option<(u64, Answer)> {
    let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
    let (seen, server) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    Some((words.next()?.parse().ok()?, Answer { server, seen }))
}

impl Outcome {
    pub fn answered(&self) -> u64 {
        u64::try_from(self.answers.by_number.len()).unwrap_or(u64::MAX)
    }

    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.answered())
    }

    /// Answers that came from elsewhere, or that nobody can read.
    pub fn from_elsewhere(&self) -> u64 {
        self.answers.from_elsewhere
    }

    /// Whom the servers saw.
    pub fn seen(&self) -> impl Iterator<Item = SocketAddr> {
        self.answers.by_number.values().map(|answer| answer.seen)
    }

    /// The servers that answered, each as often as it took over from another.
    pub fn servers(&self) -> Vec<&str> {
        let names = self.answers.by_number.values();
        let mut names: Vec<&str> = names.map(|answer| answer.server.as_str()).collect();
        names.dedup();
        names
    }

    pub fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let (mut next, mut all) = (0, self.answers.by_number.keys().copied());
        while next < self.sent {
            let answered = all.next().unwrap_or(self.sent);
            if answered > next {
                let at = Duration::from_micros(next * 1_000_000 / u64::from(self.rate));
                gaps.push(Gap {
                    at: at.as_secs_f64(),
                    lost: answered - next,
                });
            }
            next = answered + 1;
        }
        gaps
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, sent, gaps) = (self.lost(), self.sent, self.gaps());
        write!(f, "{lost} of {sent} datagrams lost")?;
        for Gap { at, lost } in gaps {
            write!(f, ", {lost} at {at:.1} s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
