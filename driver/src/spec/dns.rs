//! How names are resolved in the container.

use std::net::IpAddr;

use bollard::models::HostConfig;

use super::{Inputs, non_empty};

/// The group's `network { dns {…} }` beats the task's options. resolv.conf has room for addresses only: other servers are
/// left out, and the remarks say so.
pub(super) fn apply(inputs: Inputs<'_>, host: &mut HostConfig) -> Vec<String> {
    let options = inputs.options;
    let (servers, searches, settings) = match &inputs.task.dns {
        Some(dns) => (&dns.servers, &dns.searches, &dns.options),
        None => (
            &options.dns_servers,
            &options.dns_search_domains,
            &options.dns_options,
        ),
    };
    let (addresses, names): (Vec<_>, Vec<_>) = servers
        .iter()
        .cloned()
        .partition(|server| server.parse::<IpAddr>().is_ok());
    host.dns = non_empty(&addresses);
    host.dns_search = non_empty(searches);
    host.dns_options = non_empty(settings);
    let remark = |server: &String| {
        format!("DNS server {server:?} is left out: an IP address without a port is wanted")
    };
    names.iter().map(remark).collect()
}
