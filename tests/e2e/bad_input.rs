//! Bad input gets a sentence, and nothing is changed.

use std::process::Command;

use crate::story;

#[test]
fn a_task_option_that_nobody_knows_is_named_in_the_tasks_event() {
    refused("colour = \"blue\"", "colour");
}

#[test]
fn a_task_option_that_is_not_there_yet_is_refused_by_name() {
    refused("load = \"image.tar\"", "load");
}

fn refused(option: &str, named: &str) {
    let lab = story::up();
    let file = tempfile::NamedTempFile::with_suffix(".nomad.hcl").unwrap();
    let job = format!(
        r#"
job "wrong" {{
  datacenters = ["*"]
  group "g" {{
    reschedule {{ attempts = 0  unlimited = false }}
    restart {{ attempts = 0  mode = "fail" }}
    task "t" {{
      driver = "docker"
      config {{ image = "busybox:1"  {option} }}
      resources {{ cpu = 10  memory = 16 }}
    }}
  }}
}}"#
    );
    std::fs::write(file.path(), job).unwrap();
    story::nomad_ok(
        &lab,
        &["job", "run", "-detach", &file.path().display().to_string()],
    );
    let url = format!("{}/v1/job/wrong/allocations", lab.topology.nomad_url());
    story::eventually("a sentence in the task's event", 30, || {
        let found = lab::http::get_json(&url, std::time::Duration::from_secs(2))
            .map_err(|error| error.to_string())?;
        let said = found.to_string();
        if said.contains(named) {
            Ok(())
        } else {
            Err(said)
        }
    });
    story::nomad_ok(&lab, &["job", "stop", "-purge", "-detach", "wrong"]);
}

#[test]
fn a_syncer_config_with_an_unknown_key_is_refused_by_line_and_column() {
    let file = tempfile::NamedTempFile::with_suffix(".hcl").unwrap();
    std::fs::write(
        file.path(),
        "state_dir = \"/nonexistent\"\nconsul {\n  adress = \"http://127.0.0.1:8500\"\n}\n",
    )
    .unwrap();
    for command in ["validate", "agent"] {
        let output = Command::new(story::product("ipvs-syncer"))
            .args([command, "--config"])
            .arg(file.path())
            .output()
            .unwrap();
        let said = story::said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(":3:3") && said.contains("adress"), "{said}");
    }
    assert!(!std::path::Path::new("/nonexistent").exists());
}

#[test]
fn the_driver_run_by_hand_says_what_it_is_for() {
    let output = Command::new(story::product("docker-ipvs"))
        .env_remove("NOMAD_PLUGIN_MAGIC_COOKIE")
        .output()
        .unwrap();
    let said = story::said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Nomad"), "{said}");
}

#[test]
fn a_profile_name_that_is_none_is_refused() {
    let output = story::lab("../x", &["status"]);
    assert!(!output.status.success());
    assert!(
        story::said(&output).contains("small letters"),
        "{}",
        story::said(&output)
    );
}
