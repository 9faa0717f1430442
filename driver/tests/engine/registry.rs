//! What real registries say of images that they have, that they have not, and that they keep to themselves.

use docker_ipvs::engine::Address;
use nomad_driver_sdk::{DriverError, TaskConfig, TaskDriver};
use rmpv::Value;
use tokio::time::timeout;

use crate::docker;
use crate::driver::{WAIT_MAX, alloc_dir, options};
use crate::hostile::{driver_over, list, task_of};

/// Names the registry that lets everybody in, as the engine reaches it. It has `busybox:1`, and so has the other.
const OPEN: &str = "OPEN_REGISTRY";
/// Names the one that wants a user, who is `alice` with the password `sesame`.
const LOGIN_REGISTRY: &str = "CLOSED_REGISTRY";
/// Where nobody listens.
const DEAD_REGISTRY: &str = "127.0.0.1:9";

pub(crate) async fn what_a_registry_has_is_fetched_and_what_it_refuses_is_not_tried_again() {
    let at = |variable: &str| std::env::var(variable).expect(variable);
    let (open, login_registry) = (at(OPEN), at(LOGIN_REGISTRY));
    let must_fetch = |image: String, password: Option<&'static str>| async move {
        fetch(&image, password).await.unwrap();
    };
    must_fetch(format!("{open}/busybox:1"), None).await;
    must_fetch(format!("{login_registry}/busybox:1"), Some("sesame")).await;
    for (image, password, lasting) in [
        (format!("{open}/busybox:none"), None, true),
        (format!("{open}/nobody/knows:1"), None, true),
        (format!("{login_registry}/other:1"), None, true),
        (format!("{login_registry}/other:1"), Some("simsim"), true),
        (format!("{DEAD_REGISTRY}/busybox:1"), None, false),
    ] {
        let refusal = fetch(&image, password).await.unwrap_err();
        assert_eq!(refusal.is_recoverable(), !lasting, "{image}: {refusal}");
        assert!(refusal.to_string().contains(&image), "{refusal}");
        assert!(!refusal.to_string().contains("simsim"), "{refusal}");
    }
}

/// Runs a task of that image to its end.
async fn fetch(image: &str, password: Option<&str>) -> Result<(), DriverError> {
    let mut option_list = vec![
        ("image", image.into()),
        ("command", "true".into()),
        ("args", list(&[])),
        ("network_mode", "none".into()),
    ];
    if let Some(password) = password {
        let auth = [("username", "alice"), ("password", password)];
        let auth = auth.map(|(key, value)| (Value::from(key), Value::from(value)));
        option_list.push(("auth", Value::Map(auth.into())));
    }
    let driver = driver_over(|_: &Address| Ok(docker()));
    let task = TaskConfig {
        msgpack_driver_config: options(&option_list),
        ..task_of("t1", &alloc_dir("web"), "", &[])
    };
    timeout(WAIT_MAX, driver.start_task(task)).await.unwrap()?;
    let exit = timeout(WAIT_MAX, driver.wait_task("t1")).await.unwrap()?;
    assert_eq!(exit.code, 0, "{exit:?}");
    driver.destroy_task("t1", true).await
}
