//! See [`crate::fuzz`]: answers of the servers, any bytes.

use serde_json::Value;

use super::consul_json::{CheckEntry, Entries, ServiceNames, service};
use super::lenient::{self, Field};
use super::nomad_json::{Stub, shapes};

pub(crate) fn consul(data: &[u8]) {
    if let Ok(entries) = lenient::parse::<Entries>(data) {
        drop(service(&entries));
    }
    drop(lenient::parse::<ServiceNames>(data));
    drop(lenient::parse::<Vec<Field<CheckEntry>>>(data));
}

pub(crate) fn nomad(data: &[u8]) {
    let shapes = lenient::parse::<Value>(data).map(|job| shapes(&job));
    let shape = shapes.ok().and_then(|shapes| shapes.into_values().next());
    let stubs: Vec<Field<Stub>> = lenient::parse(data).unwrap_or_default();
    let mut left_out = Vec::new();
    for stub in stubs.iter().filter_map(Field::value) {
        drop(stub.allocation(None, &mut left_out));
        drop(stub.allocation(shape.as_ref(), &mut left_out));
    }
}
