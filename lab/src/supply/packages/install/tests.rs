use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

/// A folder with a policy path, a lock and an `apt-get` of the test's own.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(apt: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let file = bin.join("apt-get");
        let here = folder.path().display();
        let script =
            format!("#!/bin/sh\ncd {here}\necho \"$1\" >>asked\ncat policy >>seen\n{apt}\n");
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    fn install(&self) -> Finished {
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.path("bin").display()
        );
        run_script(
            &self.path("policy"),
            &self.path("lock"),
            &["ethtool"],
            Some(&path),
            &mut |_| {},
        )
        .unwrap()
    }
}

#[test]
fn while_packages_come_nothing_may_start_and_afterwards_there_is_no_policy() {
    let machine = Machine::new("exit 0");
    assert!(machine.install().status.success());
    assert!(machine.read("seen").unwrap().contains("exit 101"));
    assert_eq!(machine.read("asked").unwrap(), "install\n");
    assert_eq!(machine.read("policy"), None);
}

#[test]
fn a_policy_of_the_machine_is_put_back_as_it_was_even_after_a_failure() {
    let machine = Machine::new("exit 100");
    std::fs::write(machine.path("policy"), "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(
        machine.path("policy"),
        std::fs::Permissions::from_mode(0o750),
    )
    .unwrap();
    assert_eq!(machine.install().status.code(), Some(100));
    assert_eq!(machine.read("policy").unwrap(), "#!/bin/sh\nexit 0\n");
    let mode = std::fs::metadata(machine.path("policy"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);
}

#[test]
fn lists_are_refreshed_once_when_the_first_try_fails() {
    let machine = Machine::new("[ \"$1\" = update ] && touch fresh; [ -e fresh ]");
    assert!(machine.install().status.success());
    assert_eq!(machine.read("asked").unwrap(), "install\nupdate\ninstall\n");
}

#[test]
fn a_signal_ends_the_work_and_the_policy_is_put_back() {
    let machine = Machine::new("kill -TERM $PPID; exit 1");
    std::fs::write(machine.path("policy"), "old").unwrap();
    assert_eq!(machine.install().status.code(), Some(130));
    assert_eq!(machine.read("asked").unwrap(), "install\n");
    assert_eq!(machine.read("policy").unwrap(), "old");
}

#[test]
fn what_a_run_that_lost_its_power_left_is_tidied_up_first() {
    let machine = Machine::new("exit 0");
    let ours =
        "#!/bin/sh\n# nomad-ipvs: nothing is started while packages are installed\nexit 101\n";
    std::fs::write(machine.path("policy"), ours).unwrap();
    std::fs::write(machine.path("policy.before-nomad-ipvs"), "old").unwrap();
    assert!(machine.install().status.success());
    assert_eq!(machine.read("policy").unwrap(), "old");
    assert_eq!(machine.read("policy.before-nomad-ipvs"), None);
    std::fs::write(machine.path("policy"), ours).unwrap();
    assert!(machine.install().status.success());
    assert_eq!(machine.read("policy"), None);
}

#[test]
fn removed_packages_are_not_installed_ones() {
    let text = "ii  adduser\nrc  oldthing\niU  halfway\nun  nothing\n";
    assert_eq!(
        installed_in(text).into_iter().collect::<Vec<_>>(),
        ["adduser"]
    );
}

#[test]
fn of_all_that_apt_says_the_package_is_what_counts() {
    assert_eq!(
        worth_saying("Setting up ethtool (1:6.1-1) ..."),
        Some("Setting up ethtool (1:6.1-1)")
    );
    assert_eq!(worth_saying("Reading package lists..."), None);
}
