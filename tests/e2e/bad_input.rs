//! Bad input gets a sentence, and nothing is changed.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::story;

/// How long one answer of Nomad's may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

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
    reschedule {{
      attempts  = 0
      unlimited = false
    }}
    restart {{
      attempts = 0
      mode     = "fail"
    }}
    task "t" {{
      driver = "docker"
      config {{
        image = "busybox:1"
        {option}
      }}
      resources {{
        cpu    = 10
        memory = 16
      }}
    }}
  }}
}}"#
    );
    std::fs::write(file.path(), job).unwrap();
    story::nomad_ok(
        &lab,
        &["job", "run", "-detach", &file.path().display().to_string()],
    );
    story::eventually("a sentence in the task's event", 30, || {
        let found = lab
            .nomad()
            .get_json("job/wrong/allocations", ANSWER_TIMEOUT);
        let found = found.map_err(|error| error.to_string())?;
        let sentences = sentences(&found);
        if sentences.iter().any(|sentence| has_word(sentence, named)) {
            Ok(())
        } else {
            Err(format!("{sentences:?} of {found}"))
        }
    });
    story::nomad_ok(&lab, &["job", "stop", "-purge", "-detach", "wrong"]);
}

/// What is said of each task. An event has a field for everything that could ever have gone wrong, so only what it says
/// counts, and no field's name.
fn sentences(allocations: &Value) -> Vec<String> {
    let allocations = allocations.as_array().into_iter().flatten();
    let events =
        allocations.filter_map(|allocation| allocation["TaskStates"]["t"]["Events"].as_array());
    let messages = |event: &Value| {
        ["DisplayMessage", "DriverError"].map(|field| event[field].as_str().map(str::to_owned))
    };
    events.flatten().flat_map(messages).flatten().collect()
}

/// `load` is no word of `DownloadError`.
fn has_word(sentence: &str, word: &str) -> bool {
    let mut words = sentence.split(|char: char| !char.is_alphanumeric() && char != '_');
    words.any(|other| other == word)
}

#[test]
fn an_event_that_names_an_option_only_in_a_fields_name_refuses_nothing() {
    let event = |sentence: &str| {
        let event = json!({ "DisplayMessage": sentence, "DownloadError": "", "DriverError": "" });
        json!([{ "TaskStates": { "t": { "Events": [event] } } }])
    };
    let named = |allocations: &Value| {
        let sentences = sentences(allocations);
        sentences.iter().any(|sentence| has_word(sentence, "load"))
    };
    assert!(!named(&event("Task received by client")));
    assert!(!named(&event(
        "Failed to download artifacts: DownloadError"
    )));
    assert!(named(&event("option `load`: not there yet")));
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
        let text = story::text(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(":3:3") && text.contains("adress"), "{text}");
    }
    assert!(!std::path::Path::new("/nonexistent").exists());
}

#[test]
fn the_driver_run_by_hand_says_what_it_is_for() {
    let output = Command::new(story::product("docker-ipvs"))
        .env_remove("NOMAD_PLUGIN_MAGIC_COOKIE")
        .output()
        .unwrap();
    let text = story::text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("Nomad"), "{text}");
}

#[test]
fn a_profile_name_that_is_none_is_refused() {
    let output = story::lab("../x", &["status"]);
    assert!(!output.status.success());
    assert!(
        story::text(&output).contains("small letters"),
        "{}",
        story::text(&output)
    );
}
