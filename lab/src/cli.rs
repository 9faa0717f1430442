//! The command line: what may be typed, as typed. Deciding and doing is for the commands' own modules.

use clap::{Args, Parser, Subcommand};

use lab::part::nomad::Driver;
use lab::world::forward::Forward;
use lab::world::kernel::Choice;
use lab::world::topology::{Node, Nodes};

/// Nomad, Consul, Docker and IPVS on one machine, with real parts.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    bin_name = "cargo lab",
    version,
    propagate_version = true
)]
pub(crate) struct Cli {
    /// A lab of its own, with its own subnet, beside others [default: `default`; `chaos` for chaos].
    #[arg(long, global = true, env = "NOMAD_IPVS_PROFILE")]
    profile: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The lab that is meant.
    pub(crate) fn profile(&self) -> &str {
        let unnamed = match self.command {
            Command::Chaos(_) => lab::experiment::chaos::PROFILE,
            _ => "default",
        };
        self.profile.as_deref().unwrap_or(unnamed)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the lab up, or mend what died in it.
    Up(UpArgs),
    /// Remove all that `up` made.
    Down(JsonArgs),
    /// Nomad's, Consul's and the kernel's view side by side, and where they differ.
    Status(JsonArgs),
    /// What this machine has and lacks for the lab.
    Doctor(DoctorArgs),
    /// Shell lines that make nomad, consul and docker speak to the lab: eval "$(cargo lab env)".
    Env,
    /// What a part has written.
    Logs {
        /// Go on as it grows.
        #[arg(short, long)]
        follow: bool,
        part: String,
    },
    /// Run a command on a node.
    Exec {
        node: Node,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run the tests; without a name all of them, in order.
    Test { stage: Option<lab::test::Stage> },
    /// Take a figure of docs/MEASURED.md again, on a lab that is up.
    Bench {
        figure: lab::experiment::bench::Figure,
    },
    /// Kill, pause, cut off and restart parts under load, and see that all comes right.
    Chaos(ChaosArgs),
    /// For the lab itself.
    #[command(hide = true)]
    Internal {
        #[command(subcommand)]
        command: Internal,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The director's kernel; without it the machine's own where it has IPVS, else User-mode Linux.
    #[arg(long)]
    pub(crate) kernel: Option<Choice>,
    /// Nomad client nodes; without it as many as there were, or one.
    #[arg(long)]
    pub(crate) nodes: Option<Nodes>,
    /// How packets reach the articles' job; without it as before, or masq.
    #[arg(long)]
    pub(crate) forward: Option<Forward>,
    /// Who runs Docker tasks; an agent that runs with another driver is stopped, and its tasks are taken over.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) driver: Driver,
    /// Only list missing packages.
    #[arg(long)]
    pub(crate) no_install: bool,
    /// Run the products as they were last built.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Bring the parts up without the articles' job.
    #[arg(long)]
    pub(crate) no_job: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[arg(long)]
    pub(crate) kernel: Option<Choice>,
    /// Treat missing packages as missing: nothing would be installed.
    #[arg(long)]
    pub(crate) no_install: bool,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    #[arg(long, default_value_t = 10)]
    pub(crate) episodes: usize,
    /// Of the first episode, and by it of all: the same seed gives the same episodes. Without it any.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How packets reach the servers; without it as before, or masq.
    #[arg(long)]
    pub(crate) forward: Option<Forward>,
    /// Run the products as they were last built.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Internal {
    /// Owns a guest.
    Keeper { description: std::path::PathBuf },
    /// Serves commands inside a guest.
    GuestServer,
    /// Notes how long the syncer takes, inside the director's kernel.
    WatchLag { consul: String, vip: String },
    /// Notes when real servers go, inside the director's kernel.
    WatchExits { consul: String, vip: String },
    /// Notes how long changes of many services take, inside the director's kernel.
    WatchScale { consul: String },
    /// Prints the kernel's IPVS table as JSON.
    IpvsTable,
    /// Prints how many real servers of a VIP's address are sent to.
    IpvsCount { vip: std::net::IpAddr },
}
