//! Where an engine wants a container's MAC address: beside the image before API 1.44, which ignores the place of later
//! ones; with the network from there on, and from 1.52 only there.

use bollard::errors::Error;
use bollard::models::ContainerCreateBody;
use bollard::{ClientVersion, Docker, body_full};
use bytes::Bytes;
use serde_json::Value;

/// The first version that takes the address with the network.
const NETWORK_MAC_VERSION: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 44,
};

/// A client whose creation of `body` says the address where its engine looks. The models of today have no such field.
pub(super) fn with_mac_address(
    docker: Docker,
    body: &ContainerCreateBody,
) -> Result<Docker, Error> {
    if docker.client_version() >= NETWORK_MAC_VERSION {
        return Ok(docker);
    }
    let Some(mac) = address(body) else {
        return Ok(docker);
    };
    let mut json = serde_json::to_value(body)?;
    if let Value::Object(fields) = &mut json {
        fields.insert("MacAddress".to_owned(), Value::String(mac));
    }
    let bytes = Bytes::from(serde_json::to_vec(&json)?);
    Ok(docker.with_request_modifier(move |request| request.map(|_| body_full(bytes.clone()))))
}

fn address(body: &ContainerCreateBody) -> Option<String> {
    let endpoints = body.networking_config.as_ref()?.endpoints_config.as_ref()?;
    endpoints
        .values()
        .find_map(|endpoint| endpoint.mac_address.clone())
}
