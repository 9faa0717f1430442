//! The host process that owns a guest: boots it, and passes commands to it for as long as it lives.
//!
//! It listens on a unix socket of root's. Each connection is one channel: frames go through with the channel's number
//! filled in, so that clients need none. When the guest ends the keeper ends, and the other way round: a console
//! that closes powers the guest off.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::console::Outside;
use super::frame::{Body, End, Frame, Sink};
use super::{init, nudge, processor};
use lab_host::process::Identity;

/// The guest's kernel as a program, and the name of its processes.
pub const PROGRAM: &str = "linux.uml";

/// What a guest is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Guest {
    /// Megabytes of memory.
    pub memory: u32,
    /// Tap in the keeper's network namespace, or no network.
    pub tap: Option<String>,
    pub settings: init::Settings,
    /// Where the guest's kernel and first console write.
    pub log: PathBuf,
    /// Where clients connect.
    pub socket: PathBuf,
}

type Clients = Arc<Mutex<HashMap<u32, Sender<Body>>>>;

/// Boots the guest and serves until it is off.
pub fn run(guest: &Guest) -> Result<()> {
    processor::take();
    let (console, inside) = UnixStream::pair().context("make the console")?;
    let inside = OwnedFd::from(inside);
    let uml = boot(guest, &inside)?;
    drop(inside);
    let pid = uml.id();
    let kernel = i32::try_from(pid).ok().and_then(Identity::of);
    let watched = watch(uml, console.try_clone().context("share the console")?);
    let mut reader = console.try_clone().context("share the console")?;
    match Frame::read(&mut reader).context("read the console")? {
        Some(Frame {
            body: Body::Ready, ..
        }) => {}
        _ => anyhow::bail!(
            "the guest ended before it was ready; see {}",
            guest.log.display()
        ),
    }
    nudge::keep_awake(pid)?;
    let _ = std::fs::remove_file(&guest.socket);
    let listener = UnixListener::bind(&guest.socket)
        .with_context(|| format!("listen on {}", guest.socket.display()))?;
    std::fs::set_permissions(&guest.socket, std::fs::Permissions::from_mode(0o600))
        .context("close the socket to others")?;
    let clients: Clients = Arc::default();
    let (console, window) = Outside::new(console);
    let console = Sink::new(console);
    let accepted = Arc::clone(&clients);
    std::thread::spawn(move || accept(&listener, &accepted, &console));
    while let Ok(Some(frame)) = Frame::read(&mut reader) {
        if let (0, Body::Credit(bytes)) = (frame.channel, &frame.body) {
            window.give(*bytes as usize);
            continue;
        }
        let clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&frame.channel) {
            let _ = client.send(frame.body);
        }
    }
    window.close();
    let _ = std::fs::remove_file(&guest.socket);
    if let Some(kernel) = kernel {
        kernel.signal(Signal::SIGKILL);
    }
    watched
        .join()
        .unwrap_or_else(|_| Err(std::io::Error::other("its thread panicked")))
        .context("wait for the guest")
        .map(drop)
}

/// Ends the console when the guest's kernel ends: its helper processes, which outlive one that was killed, hold the
/// console's other end too.
fn watch(mut uml: Child, console: UnixStream) -> JoinHandle<std::io::Result<ExitStatus>> {
    std::thread::spawn(move || {
        let status = uml.wait();
        let _ = console.shutdown(Shutdown::Both);
        status
    })
}

fn boot(guest: &Guest, console: &OwnedFd) -> Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&guest.log);
    let log: File = log.with_context(|| format!("open {}", guest.log.display()))?;
    let settings = serde_json::to_string(&guest.settings).context("write the guest's settings")?;
    let program = std::env::current_exe().context("find the own program")?;
    // The descriptor goes to the guest under its number.
    fcntl(console, FcntlArg::F_SETFD(FdFlag::empty())).context("let the console be inherited")?;
    let fd = console.as_raw_fd();
    let mut command = Command::new(PROGRAM);
    command
        .arg(format!("mem={}M", guest.memory))
        .args([
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "quiet",
            "con=null",
            "con0=null,fd:1",
        ])
        .arg(format!("con1=fd:{fd},fd:{fd}"))
        .arg(format!("init={}", program.display()))
        // Words that the kernel doesn't know become the environment of init.
        .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .arg(format!("{}={settings}", init::VARIABLE));
    if let Some(tap) = &guest.tap {
        let mac = guest
            .settings
            .addresses
            .iter()
            .find_map(|address| mac_of(address));
        let mac = mac.map(|mac| format!(",mac={mac}")).unwrap_or_default();
        command.arg(format!("vec0:transport=tap,ifname={tap},gro=1{mac}"));
    }
    let second = log.try_clone().context("share the log")?;
    command.stdin(Stdio::null()).stdout(log).stderr(second);
    command
        .spawn()
        .context("start linux.uml (package user-mode-linux)")
}

/// A machine keeps its link address when it is started again, else its neighbours would ask in vain for a minute.
fn mac_of(address: &str) -> Option<String> {
    let [a, b, c, d] = address.parse::<Ipv4Net>().ok()?.addr().octets();
    Some(format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}"))
}

fn accept(listener: &UnixListener, clients: &Clients, console: &Sink<Outside>) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    for connection in listener.incoming().flatten() {
        let channel = NEXT.fetch_add(1, Ordering::Relaxed);
        let (sender, bodies) = mpsc::channel();
        clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(channel, sender);
        let (clients, console) = (Arc::clone(clients), console.clone());
        std::thread::spawn(move || {
            if let Ok(mut writer) = connection.try_clone() {
                std::thread::spawn(move || {
                    for body in bodies {
                        if Frame::new(0, body).write(&mut writer).is_err() {
                            break;
                        }
                    }
                    let _ = writer.shutdown(Shutdown::Both);
                });
            }
            serve(connection, channel, &console);
            clients
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&channel);
        });
    }
}

/// Passes a client's frames on; tells the guest when the client is gone.
fn serve(mut connection: UnixStream, channel: u32, console: &Sink<Outside>) {
    while let Ok(Some(frame)) = Frame::read(&mut connection) {
        if console.send(channel, frame.body).is_err() {
            return;
        }
    }
    let _ = console.send(channel, Body::End(End::Killed(1)));
}

#[cfg(test)]
mod tests {
    use super::mac_of;

    #[test]
    fn a_guest_has_one_link_address_for_each_address() {
        assert_eq!(
            mac_of("198.18.0.28/24").as_deref(),
            Some("02:00:c6:12:00:1c")
        );
        assert_eq!(mac_of("fd6e:6f6d:6164::28/64"), None);
    }
}
