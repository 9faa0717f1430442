//! What stories are told with: the lab's program, the shared lab, and patience.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lab::observe::load;
use lab::observe::status::Status;
use lab::world::context::Lab;
use lab::world::topology::Node;

/// The stories' own lab; another one where several processes tell them at a time.
pub(crate) fn profile() -> &'static str {
    static PROFILE: OnceLock<String> = OnceLock::new();
    let from_env = || std::env::var("NOMAD_IPVS_STORIES").unwrap_or_else(|_| "test".to_owned());
    PROFILE.get_or_init(from_env)
}

/// The lab's program: beside the test binary, unless the runner says otherwise.
pub(crate) fn program() -> PathBuf {
    lab::supply::products::lab().unwrap()
}

/// A program of this workspace.
pub(crate) fn product(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built: `cargo build --workspace`",
        path.display()
    );
    path
}

/// Tests that were built along with these stories: the newest binary of that name beside them.
pub(crate) fn suite(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let beside = std::fs::read_dir(own.parent().unwrap()).unwrap();
    let built = beside.filter_map(|entry| {
        let entry = entry.ok()?;
        let file = entry.file_name().into_string().ok()?;
        let hash = file.strip_prefix(name)?.strip_prefix('-')?;
        let modified = || entry.metadata().and_then(|data| data.modified()).unwrap();
        (!hash.contains(['.', '-'])).then(|| (modified(), entry.path()))
    });
    built
        .max()
        .unwrap_or_else(|| panic!("{name} is not built: `cargo test --workspace --no-run`"))
        .1
}

/// Runs the lab's program on a profile.
pub(crate) fn lab(profile: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(["--profile", profile]).args(args);
    command.output().unwrap()
}

/// The shared lab, up.
pub(crate) fn up() -> Lab {
    static UP: OnceLock<()> = OnceLock::new();
    UP.get_or_init(|| {
        let output = lab(profile(), &["up", "--no-build"]);
        assert!(output.status.success(), "up failed:\n{}", text(&output));
        // Past what is kept of a story that ends well: how long each part took.
        let _ = write!(std::io::stderr(), "\n{}", text(&output));
    });
    Lab::open(profile(), None).unwrap()
}

/// Both outputs, for a message.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs the real `nomad` against the shared lab.
pub(crate) fn nomad(lab: &Lab, args: &[&str]) -> Output {
    let mut command = Command::new(lab.decisions().unwrap().nomad);
    command.args(args).envs(lab::client::env::agents(lab));
    command.output().unwrap()
}

/// Same, and it must succeed.
pub(crate) fn nomad_ok(lab: &Lab, args: &[&str]) -> String {
    let output = nomad(lab, args);
    assert!(
        output.status.success(),
        "nomad {args:?}:\n{}",
        text(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A job file of the workspace.
pub(crate) fn job_file(name: &str) -> String {
    lab::host::paths::workspace()
        .join("jobs")
        .join(name)
        .display()
        .to_string()
}

/// Looks until there is a value; the last reason is what the failure says.
pub(crate) fn eventually<T>(
    what: &str,
    seconds: u64,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look() {
            Ok(value) => return value,
            Err(reason) => assert!(
                Instant::now() < until,
                "{what}: not within {seconds} s: {reason}"
            ),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until a virtual service has so many real servers that take connections, and no other.
pub(crate) fn real_servers(lab: &Lab, vip: &str, wanted: usize, seconds: u64) {
    eventually(&format!("{wanted} real servers of {vip}"), seconds, || {
        let status = lab::observe::status::read(lab);
        let real: Vec<u32> = weights(&status, vip);
        if real.len() == wanted && real.iter().all(|&weight| weight > 0) {
            return Ok(());
        }
        Err(format!("weights {real:?}, {:?}", status.rows))
    });
}

/// How many connections the servers of the lab's jobs let wait (`listen` in busybox' httpd). With more at once, a server that gets no
/// processor for two seconds drops the same SYN twice, and a request is lost that the path carried as it should.
const SERVER_BACKLOG: u32 = 9;

/// A hundred requests a second from the client.
pub(crate) fn load(lab: &Lab, vip: impl Into<SocketAddr>) -> load::Load {
    let plan = load::Plan {
        target: vip.into(),
        rate: 100,
        workers: SERVER_BACKLOG,
        netns: lab.topology.netns(Node::Client.name()),
    };
    load::start(&plan).unwrap()
}

/// Weights in the kernel of a virtual service's real servers.
pub(crate) fn weights(status: &Status, vip: &str) -> Vec<u32> {
    let real = status
        .rows
        .iter()
        .filter_map(|row| row.real_server.as_ref());
    real.filter(|real| real.vip.ends_with(vip))
        .map(|real| real.weight)
        .collect()
}

/// Waits until the three views agree.
pub(crate) fn agreement(lab: &Lab, seconds: u64) {
    eventually("the three views agree", seconds, || {
        let status = lab::observe::status::read(lab);
        if status.agree {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    });
}
