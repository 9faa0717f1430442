//! The options of the agent's `plugin` block: the built-in driver's, by name and type, `allow_devices` and `syncer { … }`.
//!
//! Defaults live in [`super::raw`] alone: what is unset arrives as nil.

use nomad_driver_sdk::hclspec::{Spec, block, bool, number, object, string, string_maps, strings};

pub fn schema() -> Spec {
    object([
        string("endpoint"),
        block("tls", [string("cert"), string("key"), string("ca")]),
        block("auth", [string("config"), string("helper")]),
        strings("extra_labels"),
        block("logging", [string("type"), string_maps("config")]),
        block(
            "gc",
            [
                bool("image"),
                string("image_delay"),
                bool("container"),
                block(
                    "dangling_containers",
                    [
                        bool("enabled"),
                        string("period"),
                        string("creation_grace"),
                        bool("dry_run"),
                    ],
                ),
            ],
        ),
        block("volumes", [bool("enabled"), string("selinuxlabel")]),
        bool("allow_privileged"),
        strings("allow_caps"),
        string("nvidia_runtime"),
        strings("allow_devices"),
        strings("allow_runtimes"),
        string("infra_image"),
        string("infra_image_pull_timeout"),
        string("image_pull_timeout"),
        number("container_exists_attempts"),
        number("oom_score_adj"),
        string("pull_activity_timeout"),
        number("pids_limit"),
        bool("disable_log_collection"),
        bool("windows_allow_insecure_container_admin"),
        block(
            "syncer",
            [string("socket"), string("drain"), string("drain_max")],
        ),
        block(
            "allowed_modes",
            [
                strings("pid"),
                strings("ipc"),
                strings("userns"),
                strings("uts"),
            ],
        ),
    ])
}
