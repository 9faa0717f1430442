//! The kernel's table, behind the thread that owns the conversation with IPVS.

use ipvs::{Client, Command, Kernel, Live, ServiceId, Table};
use syncer_core::reading::Counts;

use super::thread::SocketThread;
use super::{Counter, DataPlaneError, lost};

/// Reads and changes the kernel's table.
#[derive(Debug)]
pub(super) struct KernelTable(SocketThread<Client>);

impl KernelTable {
    /// Opens the table of the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, ipvs::Error> {
        let thread = SocketThread::start("netlink", Client::open()?);
        thread.map(Self).map_err(|source| ipvs::Error::Socket {
            operation: "start a thread",
            source,
        })
    }

    /// Reads all there is; `expected` names what should be found.
    pub(super) async fn read(&self, expected: &Table) -> Result<Live, DataPlaneError> {
        let expected = expected.clone();
        Ok(self.0.ask(move |client| client.read(&expected)).await??)
    }

    /// Counts the connections of these virtual services.
    pub(super) async fn count(&self, services: &[ServiceId]) -> Result<Counts, DataPlaneError> {
        let services = services.to_vec();
        let counted = self.0.ask(move |client| {
            let mut counts = Counts::new();
            for id in services {
                for (real, connections) in client.reals(&id)? {
                    counts.insert((id, real.address), connections);
                }
            }
            Ok::<_, ipvs::Error>(counts)
        });
        Ok(counted.await??)
    }

    /// Counts connections beside whatever else the table is asked for.
    pub(super) fn counter(&self) -> Counter {
        Counter::start(self.0.clone())
    }

    /// Waits until the thread of the socket is no more.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.ended()
    }

    /// Does all commands in order, whatever becomes of each; one outcome a command, in the kernel's own words.
    pub(super) async fn apply(&self, commands: Vec<Command>) -> Vec<Result<(), DataPlaneError>> {
        let count = commands.len();
        match self.0.ask(move |client| client.apply(&commands)).await {
            Ok(Ok(results)) => {
                let results = results.into_iter();
                results.map(|result| result.map_err(Into::into)).collect()
            }
            Ok(Err(error)) => lost(error, count),
            Err(error) => (0..count).map(|_| Err(error.clone().into())).collect(),
        }
    }
}
