//! What the kernel refuses, and what rests on it.

use std::net::IpAddr;

use ipvs::{
    Command, Forwarding, Kernel, RealServer, ServiceId, ServiceSettings, Thresholds, Weight, errno,
};
use syncer_core::plan::Step;

use super::harness::{Lab, address, instance, running};

#[tokio::test]
async fn a_service_that_the_kernel_would_not_remove_keeps_its_address_and_its_snat_until_it_is_gone()
 {
    let lab = Lab::with(&[]).await;
    let forsaken: ServiceId = "198.18.0.40:80".parse().unwrap();
    let vip: IpAddr = "198.18.0.40".parse().unwrap();
    {
        let settings = ServiceSettings::new("rr".parse().unwrap());
        let mut inside = lab.director.inside();
        let add = Command::AddService(forsaken, settings);
        inside.kernel.apply(&[add]).unwrap();
        inside.addresses.present.insert(vip);
        inside.addresses.ours.insert(vip);
        inside.snat = Some([forsaken].into());
        // The first is the removal: it waits for no other service.
        inside.kernel.faults = [errno::EPERM].into();
    }
    let _daemon = lab.daemon();
    let present = || lab.director.inside().addresses.present.contains(&vip);
    lab.eventually(present, &false).await;
    let inside = lab.director.inside();
    let concerns = |step: &&Step| match step {
        Step::Ipvs(command) => *command == Command::RemoveService(forsaken),
        Step::AddVip(other) | Step::RemoveVip(other) => *other == vip,
        Step::SetSnat(services) => !services.contains(&forsaken),
        _ => false,
    };
    let steps = inside.steps.iter().filter(concerns);
    assert_eq!(
        steps.map(ToString::to_string).collect::<Vec<_>>(),
        [
            "remove tcp://198.18.0.40:80",
            "remove tcp://198.18.0.40:80",
            "rewrite clients' addresses for 1 services",
            "remove address 198.18.0.40",
        ]
    );
}

#[tokio::test]
async fn a_real_server_that_somebody_else_added_first_gets_its_weight() {
    let lab = Lab::with(&[0]).await;
    lab.nomad.change(|world| world.allocations.push(running(1)));
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    let web: ServiceId = "198.18.0.29:80".parse().unwrap();
    let real = RealServer {
        address: address(1),
        weight: Weight::saturating(7),
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds::default(),
    };
    lab.director
        .inside()
        .kernel
        .apply(&[Command::AddReal(web, real)])
        .unwrap();
    let both = vec![instance(0, "passing"), instance(1, "passing")];
    lab.consul
        .change(|world| drop(world.services.insert("web".into(), both)));
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 1"])
        .await;
    let edit = Step::Ipvs(Command::EditReal(web, real.with_weight(Weight::ONE)));
    assert!(lab.director.inside().steps.contains(&edit));
}
