//! Which ACL rule a request needs, so that a refusal says what the token lacks.

/// The rule, in the words of the servers' policies; `None`: no request of ours.
pub(super) fn needed(path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap_or_default();
    let rules = [
        (
            "/v1/agent/service/",
            r#"service_prefix "" { policy = "write" }"#,
        ),
        (
            "/v1/agent/services",
            r#"service_prefix "" { policy = "read" }"#,
        ),
        (
            "/v1/agent/self",
            r#"agent { policy = "read" } (Nomad), agent_prefix "" { policy = "read" } (Consul)"#,
        ),
        (
            "/v1/catalog/",
            r#"service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }"#,
        ),
        (
            "/v1/health/",
            r#"service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }"#,
        ),
        (
            "/v1/allocation",
            r#"namespace "*" { capabilities = ["read-job"] }"#,
        ),
        (
            "/v1/job",
            r#"namespace "*" { capabilities = ["read-job"] }"#,
        ),
        ("/v1/node", r#"node { policy = "read" }"#),
    ];
    let rule = rules.iter().find(|(prefix, _)| path.starts_with(prefix));
    rule.map(|(_, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use super::needed;

    #[test]
    fn every_request_of_ours_has_its_rule() {
        let write = needed("/v1/agent/service/register?replace-existing-checks=true");
        assert!(write.unwrap().contains("write"));
        assert!(needed("/v1/agent/services").unwrap().contains("read"));
        let node = needed("/v1/health/service/web?index=7&wait=60s");
        assert!(node.unwrap().contains("node_prefix"));
        let job = needed("/v1/allocations?namespace=*&resources=true");
        assert!(job.unwrap().contains("read-job"));
        assert_eq!(needed("/v1/status"), None);
    }
}
