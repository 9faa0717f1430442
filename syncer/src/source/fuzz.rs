//! See [`crate::fuzz`]: answers of the servers, any bytes.

use serde_json::Value;

use super::consul_json::{Entry, ServiceNames, service};
use super::nomad_json::{Stub, shapes};

pub(crate) fn consul(data: &[u8]) {
    if let Ok(entries) = serde_json::from_slice::<Vec<Entry>>(data) {
        drop(service(&entries));
    }
    drop(serde_json::from_slice::<ServiceNames>(data));
}

pub(crate) fn nomad(data: &[u8]) {
    let shapes = serde_json::from_slice::<Value>(data).map(|job| shapes(&job));
    let shape = shapes.ok().and_then(|shapes| shapes.into_values().next());
    let stubs: Vec<Stub> = serde_json::from_slice(data).unwrap_or_default();
    for stub in stubs {
        drop(stub.allocation(None));
        drop(stub.allocation(shape.as_ref()));
    }
}
