//! Who has opened a stream on the director's address, by the certificate that was shown.

use std::net::SocketAddr;
use std::sync::Arc;

use tonic::Extensions;
use tonic::transport::server::TlsConnectInfo;

use super::guest::{Call, Guest};
use super::rate::Origin;
use crate::source::driver::Speaker;

/// Who has opened a stream.
pub(super) struct Caller {
    pub(super) address: Option<SocketAddr>,
    pub(super) speaker: Speaker,
    pub(super) origin: Origin,
    pub(super) call: Option<Call>,
}

impl Caller {
    pub(super) fn of(extensions: &Extensions) -> Self {
        let guest = extensions.get::<Guest>();
        let address = guest.and_then(Guest::address);
        let certificate = extensions
            .get::<TlsConnectInfo<Guest>>()
            .and_then(TlsConnectInfo::peer_certs)
            .and_then(|chain| chain.first().cloned().map(Arc::new));
        let (speaker, origin) = match certificate {
            Some(certificate) => (
                Speaker::Node(Arc::clone(&certificate)),
                Origin::Certificate(certificate),
            ),
            None => (Speaker::Anybody, Origin::Address(address.map(|at| at.ip()))),
        };
        Self {
            address,
            speaker,
            origin,
            call: guest.map(Guest::call),
        }
    }
}
