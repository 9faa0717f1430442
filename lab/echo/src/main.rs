//! A server of the lab's containers that answers each datagram: with the client's address as it sees it, its own name, and what
//! was in the datagram.
//!
//! The standard library alone, so that it can be linked statically and is an image by itself. Its name is its allocation's, or the
//! host's.

use std::env;
use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, UdpSocket};

/// More than any datagram has.
const LARGEST: usize = 1 << 16;

fn main() -> Result<()> {
    let address = env::args().nth(1);
    let address =
        address.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "echo ADDRESS:PORT"))?;
    let name = ["NOMAD_ALLOC_ID", "HOSTNAME"]
        .iter()
        .find_map(|name| env::var(name).ok());
    let name = name.unwrap_or_else(|| "nobody".to_owned());
    serve(&UdpSocket::bind(address)?, &name)
}

fn serve(socket: &UdpSocket, name: &str) -> Result<()> {
    let mut datagram = vec![0; LARGEST];
    loop {
        let (length, client) = match socket.recv_from(&mut datagram) {
            Ok(received) => received,
            // What came back of an earlier answer: its client is gone.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let payload = datagram.get(..length).unwrap_or_default();
        // A client that can't be answered is no reason not to answer the next.
        let _ = socket.send_to(&answer(client, name, payload), client);
    }
}

/// `CLIENT NAME PAYLOAD`
fn answer(client: SocketAddr, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut answer = format!("{client} {name} ").into_bytes();
    answer.extend_from_slice(payload);
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_datagram_is_answered_with_its_clients_address_the_servers_name_and_what_was_in_it() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        std::thread::spawn(move || serve(&server, "me"));
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        for payload in ["", "a datagram"] {
            client.send_to(payload.as_bytes(), address).unwrap();
            let mut answer = [0; 100];
            let (length, from) = client.recv_from(&mut answer).unwrap();
            let expected = format!("{} me {payload}", client.local_addr().unwrap());
            assert_eq!((&answer[..length], from), (expected.as_bytes(), address));
        }
    }
}
