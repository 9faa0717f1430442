//! The blocks `consul` and `nomad`: where an agent's API is, and by what it knows us.

use std::path::PathBuf;

use super::hints::server_name;
use super::read::Section;
use super::value::{Unfit, parsed, text};
use crate::credential::token::{Token, is_token};
use crate::http::{Address, AddressError, Api, HttpsTls, IdentityFiles};

pub(super) fn api(mut section: Section) -> Option<Api> {
    let address = section.required("address", parsed(address));
    let inline = section.is_literal("token");
    let value = section.value("token", parsed(token));
    let file = section.value("token_file", text).map(PathBuf::from);
    if value.is_some() && file.is_some() {
        section.problem("token and token_file exclude each other");
    }
    let block = section.block("tls");
    if let (Some(block), Some(Address::Http(_) | Address::Unix(_))) = (&block, &address) {
        block.problem("block tls needs an https:// address: nothing else uses it");
    }
    section.end();
    Some(Api {
        address: address?,
        token: value
            .map(if inline {
                Token::Inline
            } else {
                Token::Resolved
            })
            .or(file.map(Token::File)),
        tls: block.map(tls).unwrap_or_default(),
    })
}

fn address(text: &str) -> Result<Address, Unfit> {
    text.parse().map_err(|error: AddressError| match error {
        AddressError::Form => Unfit::not(error.expected(), text),
        AddressError::Credentials => error.expected().into(),
    })
}

fn tls(mut section: Section) -> HttpsTls {
    let mut file = |key| section.value(key, text).map(PathBuf::from);
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    let server_name = section.value("server_name", parsed(host_name));
    if cert_file.is_some() != key_file.is_some() {
        section.problem("cert_file and key_file belong together");
    }
    section.end();
    HttpsTls {
        ca_file,
        identity: cert_file
            .zip(key_file)
            .map(|(cert_file, key_file)| IdentityFiles {
                cert_file,
                key_file,
            }),
        server_name,
    }
}

/// The name goes into the handshake, where an address has no place.
fn host_name(name: &str) -> Result<String, Unfit> {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err("expected a host's name, not an address".into());
    }
    server_name(name)
}

/// Reads a token; the error repeats nothing of it.
fn token(text: &str) -> Result<String, &'static str> {
    if is_token(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a token: printable ASCII without spaces")
    }
}
