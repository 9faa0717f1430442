//! Both schemas as the agent gets them, held to a text: a job file that was right stays right.

use std::fmt::Write;

use nomad_driver_sdk::options::Options;
use nomad_ipvs_proto::hclspec as wire;
use wire::spec::Block as Kind;

use super::options::TaskOptions;
use super::schema;

/// One line an option, in the order of their names: `name: type`, a block's options indented below it.
fn describe(text: &mut String, depth: usize, name: &str, note: &str, spec: &wire::Spec) {
    let mut line =
        |kind: &str| writeln!(text, "{}{name}: {kind}{note}", "  ".repeat(depth)).unwrap();
    let required = |required| if required { ", required" } else { "" };
    // An option has its name twice on the wire, and the agent takes the inner one.
    match spec.block.as_ref().unwrap() {
        Kind::Object(object) => {
            let mut options: Vec<_> = object.attributes.iter().collect();
            options.sort_by_key(|(name, _)| *name);
            for (name, option) in options {
                describe(text, depth, name, "", option);
            }
        }
        Kind::Attr(attribute) => {
            assert_eq!(attribute.name, name);
            line(&format!(
                "{}{}",
                attribute.r#type,
                required(attribute.required)
            ));
        }
        Kind::BlockValue(block) => {
            assert_eq!(block.name, name);
            line(&format!("block{}", required(block.required)));
            describe(text, depth + 1, "", "", block.nested.as_ref().unwrap());
        }
        Kind::BlockList(list) => {
            assert_eq!(list.name, name);
            line(&format!("blocks, {}..{}", list.min_items, list.max_items));
            describe(text, depth + 1, "", "", list.nested.as_ref().unwrap());
        }
        Kind::BlockAttrs(block) => {
            assert_eq!(block.name, name);
            line(&format!(
                "block of {}{}",
                block.r#type,
                required(block.required)
            ));
        }
        Kind::Default(default) => {
            let Some(Kind::Literal(literal)) = &default.default.as_ref().unwrap().block else {
                panic!("the default of {name} is no literal");
            };
            let note = format!(" = {}{note}", literal.value);
            describe(text, depth, name, &note, default.primary.as_ref().unwrap());
        }
        other => panic!("{name}: the driver's schemas have no {other:?}"),
    }
}

fn text(schema: nomad_driver_sdk::hclspec::Spec) -> String {
    let mut text = String::new();
    describe(&mut text, 0, "", "", &schema.into());
    text
}

#[test]
fn the_plugins_schema_is_the_same_to_the_letter() {
    let text = text(schema());
    assert!(text == include_str!("golden/plugin.txt"), "{text}");
}

#[test]
fn the_tasks_schema_is_the_same_to_the_letter() {
    let text = text(TaskOptions::schema());
    assert!(text == include_str!("golden/task.txt"), "{text}");
}
