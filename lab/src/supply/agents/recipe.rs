//! What Go has to be told to build each agent: its module, and what its own `go.mod` says that a dependent's must repeat.

use super::Agent;

/// What to require, and how to build it.
pub(super) struct Recipe {
    pub(super) module: &'static str,
    /// Its main package.
    pub(super) package: &'static str,
    /// What its `go.mod` says.
    pub(super) go: &'static str,
    /// Lines of `go.mod` after the module's own.
    pub(super) requirements: &'static str,
    pub(super) cgo: &'static str,
}

impl Agent {
    pub(super) fn recipe(self) -> Recipe {
        match self {
            Self::Nomad => Recipe {
                module: "github.com/hashicorp/nomad",
                package: "github.com/hashicorp/nomad",
                go: "1.20",
                requirements: "\
require (
	github.com/hashicorp/nomad v1.6.1
	github.com/hashicorp/nomad/api v0.0.0-20230718173136-3a687930bd3e
)

replace (
	github.com/Microsoft/go-winio => github.com/endocrimes/go-winio v0.4.13-0.20190628114223-fb47a8b41948
	github.com/armon/go-metrics => github.com/armon/go-metrics v0.0.0-20230509193637-d9ca9af9f1f9
	github.com/hashicorp/hcl => github.com/hashicorp/hcl v1.0.1-0.20201016140508-a07e7d50bbee
)
",
                cgo: "1",
            },
            Self::Consul => Recipe {
                module: "github.com/hashicorp/consul",
                package: "github.com/hashicorp/consul",
                go: "1.20",
                requirements: "require github.com/hashicorp/consul v1.14.11\n",
                cgo: "0",
            },
            Self::Traefik => Recipe {
                module: "github.com/traefik/traefik/v3",
                package: "github.com/traefik/traefik/v3/cmd/traefik",
                go: "1.24.0",
                requirements: "\
require github.com/traefik/traefik/v3 v3.6.1

replace (
	github.com/abbot/go-http-auth => github.com/containous/go-http-auth v0.4.1-0.20200324110947-a37a7636d23e
	github.com/gorilla/mux => github.com/containous/mux v0.0.0-20250523120546-41b6ec3aed59
	github.com/mailgun/minheap => github.com/containous/minheap v0.0.0-20190809180810-6e71eb837595
)

exclude github.com/tencentcloud/tencentcloud-sdk-go v3.0.83+incompatible
",
                cgo: "0",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_build_the_versions_that_the_cache_is_named_after() {
        for agent in [Agent::Nomad, Agent::Consul, Agent::Traefik] {
            let recipe = agent.recipe();
            let line = format!("{} v{}\n", recipe.module, agent.version());
            assert!(
                recipe.requirements.contains(&line),
                "{}",
                recipe.requirements
            );
        }
    }
}
