//! Whether trying a pull again can help, from the words of the engine and of the registry.
//!
//! The engine answers with status 500 to nearly everything that a registry refuses, so the words have to do. An image's name,
//! which the job's author chooses, has no spaces and can't be one of these phrases. What nobody knows may pass.

/// Trouble that passes by itself: it beats what else is said.
const TRANSIENT: &[&str] = &[
    "toomanyrequests: ",
    "429 too many requests",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway time",
    "i/o timeout",
    "tls handshake timeout",
    "timeout exceeded",
    "deadline exceeded",
    "request canceled",
    "connection refused",
    "connection reset",
    "network is unreachable",
    "no route to host",
    "no such host",
    "server misbehaving",
    "temporary failure in name resolution",
    "unexpected eof",
];

/// Trouble that stays until somebody changes the job, the registry or the rights in it.
const PERMANENT: &[&str] = &[
    "invalid reference format",
    "must be lowercase",
    "manifest unknown",
    "name unknown",
    " not found",
    "does not exist",
    "pull access denied",
    "unauthorized: ",
    "401 unauthorized",
    "403 forbidden",
    "denied: ",
    "access denied",
    "requested access to the resource is denied",
    "authentication required",
    "authorization failed",
    "no basic auth credentials",
    "no matching manifest for ",
    "does not match the specified platform",
    "cannot be used on this platform",
];

pub(super) fn is_permanent(reason: &str) -> bool {
    let words = reason.to_lowercase();
    let contains_one = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    contains_one(PERMANENT) && !contains_one(TRANSIENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_refuses_for_good_is_not_tried_again() {
        for reason in [
            "invalid reference format",
            "invalid reference format: repository name (library/Web) must be lowercase",
            "manifest for reg.example/web:1 not found: manifest unknown: manifest unknown",
            "pull access denied for web, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            "unauthorized: authentication required",
            "Head \"https://reg.example/v2/web/manifests/1\": no basic auth credentials",
            "no matching manifest for linux/arm64/v8 in the manifest list entries",
            "failed to resolve reference \"docker.io/library/web:1\": docker.io/library/web:1: not found",
            "unexpected status from HEAD request to https://reg.example/v2/web/manifests/1: 401 Unauthorized",
            "unexpected status from HEAD request to https://reg.example/v2/web/manifests/1: 403 Forbidden",
            "image operating system \"windows\" cannot be used on this platform",
            "image web:1 not found",
        ] {
            assert!(is_permanent(reason), "{reason}");
        }
    }

    #[test]
    fn trouble_on_the_way_to_a_registry_is_tried_again() {
        for reason in [
            "toomanyrequests: You have reached your pull rate limit.",
            "received unexpected HTTP status: 503 Service Unavailable",
            "Get \"https://reg.example/v2/\": dial tcp 192.0.2.1:443: i/o timeout",
            "Get \"https://reg.example/v2/\": dial tcp 192.0.2.1:443: connect: connection refused",
            "Get \"https://reg.example/v2/\": dial tcp: lookup reg.example: no such host",
            "Get \"https://reg.example/v2/\": net/http: TLS handshake timeout",
            "failed to fetch oauth token: unexpected status from GET request: 502 Bad Gateway: denied: later",
            "unexpected EOF",
            "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
            "",
        ] {
            assert!(!is_permanent(reason), "{reason}");
        }
    }

    #[test]
    fn an_images_name_has_no_say() {
        assert!(is_permanent(
            "manifest for unexpected/eof:502 not found: manifest unknown"
        ));
        assert!(!is_permanent(
            "Get \"https://denied/v2/manifest/unknown\": net/http: TLS handshake timeout"
        ));
    }
}
