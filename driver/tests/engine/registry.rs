//! What real registries say of images that they have, that they have not, and that they keep to themselves.

use docker_ipvs::engine::Address;
use nomad_driver_sdk::{DriverError, TaskConfig, TaskDriver};
use rmpv::Value;
use tokio::time::timeout;

use crate::docker;
use crate::driver::{SOON, alloc_dir, options};
use crate::hostile::{driver_over, list, running};

/// Names the registry that lets everybody in, as the engine reaches it. It has `busybox:1`, and so has the other.
const OPEN: &str = "OPEN_REGISTRY";
/// Names the one that wants a user, who is `alice` with the password `sesame`.
const CLOSED: &str = "CLOSED_REGISTRY";
/// Where nobody listens.
const NOBODY: &str = "127.0.0.1:9";

pub(crate) async fn what_a_registry_has_is_fetched_and_what_it_refuses_is_not_tried_again() {
    let at = |variable: &str| std::env::var(variable).expect(variable);
    let (open, closed) = (at(OPEN), at(CLOSED));
    let fetched = |image: String, password: Option<&'static str>| async move {
        fetch(&image, password).await.unwrap();
    };
    fetched(format!("{open}/busybox:1"), None).await;
    fetched(format!("{closed}/busybox:1"), Some("sesame")).await;
    for (image, password, lasting) in [
        (format!("{open}/busybox:none"), None, true),
        (format!("{open}/nobody/knows:1"), None, true),
        (format!("{closed}/other:1"), None, true),
        (format!("{closed}/other:1"), Some("simsim"), true),
        (format!("{NOBODY}/busybox:1"), None, false),
    ] {
        let refused = fetch(&image, password).await.unwrap_err();
        assert_eq!(refused.is_recoverable(), !lasting, "{image}: {refused}");
        assert!(refused.to_string().contains(&image), "{refused}");
        assert!(!refused.to_string().contains("simsim"), "{refused}");
    }
}

/// Runs a task of that image to its end.
async fn fetch(image: &str, password: Option<&str>) -> Result<(), DriverError> {
    let mut all = vec![
        ("image", image.into()),
        ("command", "true".into()),
        ("args", list(&[])),
        ("network_mode", "none".into()),
    ];
    if let Some(password) = password {
        let auth = [("username", "alice"), ("password", password)];
        let auth = auth.map(|(key, value)| (Value::from(key), Value::from(value)));
        all.push(("auth", Value::Map(auth.into())));
    }
    let driver = driver_over(|_: &Address| Ok(docker()));
    let task = TaskConfig {
        msgpack_driver_config: options(&all),
        ..running("t1", &alloc_dir("web"), "", &[])
    };
    timeout(SOON, driver.start_task(task)).await.unwrap()?;
    let exit = timeout(SOON, driver.wait_task("t1")).await.unwrap()?;
    assert_eq!(exit.code, 0, "{exit:?}");
    driver.destroy_task("t1", true).await
}
