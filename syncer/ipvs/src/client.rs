//! The real kernel behind the [`Kernel`] trait: many commands in one send, answers matched by sequence number.
//!
//! Only the last command of a send asks for an acknowledgement: the kernel works through a datagram in order and
//! reports every failure anyway, so the last acknowledgement means that all before it are done.

use netlink_sys::protocols::NETLINK_GENERIC;

use crate::dump::Dump;
use crate::errno;
use crate::error::{Error, KernelRefusal};
use crate::kernel::Kernel;
use crate::model::Command;
use crate::model::{Connections, RealServer, ServiceId, ServiceSettings};
use crate::socket::Socket;
use crate::wire::Malformed;
use crate::wire::constant::{CMD_GET_DEST, CMD_GET_SERVICE, NLM_F_ACK, NLM_F_DUMP};
use crate::wire::message::{Body, Replies, Request, family_of, put_family_request};
use crate::wire::{decode, encode};

/// Commands in one send. If all of them failed, their answers would still fit the receive buffer.
const BATCH: usize = 128;

/// A conversation with the IPVS of one network namespace.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    family: u16,
}

impl Client {
    /// Opens a socket in the calling thread's network namespace. Loads `ip_vs` where the kernel is allowed to.
    pub fn open() -> Result<Self, Error> {
        const OPERATION: &str = "find the family IPVS";
        let mut client = Self {
            socket: Socket::open(NETLINK_GENERIC)?,
            family: 0,
        };
        let sequence = client.socket.sequences(1);
        let mut datagram = Vec::new();
        put_family_request(&mut datagram, sequence);
        client.socket.send(OPERATION, &datagram)?;
        let mut family = None;
        client
            .answers(OPERATION, sequence, |attributes| {
                family = Some(family_of(attributes)?);
                Ok(())
            })
            .map_err(|error| match error {
                Error::Kernel {
                    errno: errno::ENOENT,
                    ..
                } => Error::FamilyMissing,
                other => other,
            })?;
        client.family = family.ok_or(Error::FamilyMissing)?;
        Ok(client)
    }

    fn batch(
        &mut self,
        commands: &[Command],
        results: &mut Vec<Result<(), KernelRefusal>>,
    ) -> Result<(), Error> {
        const OPERATION: &str = "change the table";
        let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        let first = self.socket.sequences(count);
        let mut datagram = Vec::with_capacity(commands.len() * 192);
        for (sequence, (index, command)) in (first..).zip(commands.iter().enumerate()) {
            let flags = if index + 1 == commands.len() {
                NLM_F_ACK
            } else {
                0
            };
            encode::put_command(&mut datagram, self.family, sequence, flags, command);
        }
        self.socket.send(OPERATION, &datagram)?;
        let start = results.len();
        results.extend(commands.iter().map(|_| Ok(())));
        loop {
            for reply in Replies::new(self.socket.receive(OPERATION)?) {
                let reply = reply.map_err(|source| Error::Malformed {
                    operation: OPERATION,
                    source,
                })?;
                let index = reply.sequence.wrapping_sub(first) as usize;
                // Left over from a conversation that broke off.
                let (Some(command), Body::Acknowledged(errno)) = (commands.get(index), reply.body)
                else {
                    continue;
                };
                if errno != 0 {
                    results[start + index] = Err(KernelRefusal {
                        command: *command,
                        errno,
                    });
                }
                if index + 1 == commands.len() {
                    return Ok(());
                }
            }
        }
    }

    /// Reads all answers to one request: to the acknowledgement, the end of the dump, or a single answer without both.
    fn answers(
        &mut self,
        operation: &'static str,
        sequence: u32,
        mut take: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Error> {
        let single = self.family == 0;
        loop {
            for reply in Replies::new(self.socket.receive(operation)?) {
                let reply = reply.map_err(|source| Error::Malformed { operation, source })?;
                if reply.sequence != sequence {
                    continue;
                }
                match reply.body {
                    Body::Data(attributes) => {
                        take(attributes)
                            .map_err(|source| Error::Malformed { operation, source })?;
                        if single {
                            return Ok(());
                        }
                    }
                    Body::Acknowledged(0) | Body::EndOfDump(0) => return Ok(()),
                    Body::Acknowledged(errno) | Body::EndOfDump(errno) => {
                        return Err(Error::from_errno(operation, errno));
                    }
                }
            }
        }
    }

    fn ask(
        &mut self,
        operation: &'static str,
        flags: u16,
        command: u8,
        id: Option<&ServiceId>,
        take: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Error> {
        let sequence = self.socket.sequences(1);
        let mut datagram = Vec::with_capacity(128);
        encode::put_question(
            &mut datagram,
            self.family,
            Request {
                flags,
                command,
                sequence,
            },
            id,
        );
        self.socket.send(operation, &datagram)?;
        self.answers(operation, sequence, take)
    }
}

impl Kernel for Client {
    fn apply(&mut self, commands: &[Command]) -> Result<Vec<Result<(), KernelRefusal>>, Error> {
        let mut results = Vec::with_capacity(commands.len());
        for batch in commands.chunks(BATCH) {
            self.batch(batch, &mut results)?;
        }
        Ok(results)
    }

    fn services(&mut self) -> Result<Dump<(ServiceId, ServiceSettings)>, Error> {
        let mut services = Dump::default();
        self.ask(
            "list virtual services",
            NLM_F_DUMP,
            CMD_GET_SERVICE,
            None,
            |attributes| {
                services.add(decode::service(attributes));
                Ok(())
            },
        )?;
        Ok(services)
    }

    fn service(&mut self, id: &ServiceId) -> Result<Option<ServiceSettings>, Error> {
        let mut settings = None;
        let answer = self.ask(
            "ask for a virtual service",
            NLM_F_ACK,
            CMD_GET_SERVICE,
            Some(id),
            |attributes| {
                settings = decode::service(attributes)
                    .ok()
                    .map(|(_, settings)| settings);
                Ok(())
            },
        );
        match answer {
            Ok(()) => Ok(settings),
            Err(Error::Kernel {
                errno: errno::ESRCH,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn reals(&mut self, id: &ServiceId) -> Result<Dump<(RealServer, Connections)>, Error> {
        let mut reals = Dump::default();
        self.ask(
            "list real servers",
            NLM_F_DUMP,
            CMD_GET_DEST,
            Some(id),
            |attributes| {
                reals.add(decode::real_server(attributes, id.family()));
                Ok(())
            },
        )?;
        Ok(reals)
    }
}
