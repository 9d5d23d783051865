//! Maps, field by field against what Ceph 14.2 prints of the same bytes.

use std::collections::BTreeMap;

use denc::Decode;
use serde_json::{Value, json};

use super::dencoder::vectors;
use crate::{Bucket, BucketData, CrushMap, Item, Op, Rule, Step};

const LINES: &str = include_str!("../../testdata/dencoder.jsonl");

fn array(says: &Value) -> &Vec<Value> {
    says.as_array().unwrap_or_else(|| panic!("{says}"))
}

/// Ceph prints what is half of the range or more as a negative number.
const fn printed_weight(weight: u32) -> i32 {
    weight.cast_signed()
}

fn printed_bucket(map: &CrushMap, bucket: &Bucket) -> Value {
    let algorithm = match bucket.data {
        BucketData::Uniform { .. } => "uniform",
        BucketData::List { .. } => "list",
        BucketData::Tree { .. } => "tree",
        BucketData::Straw { .. } => "straw",
        BucketData::Straw2 { .. } => "straw2",
    };
    let item = |(at, item): (usize, &Item)| json!({ "id": item.0, "weight": printed_weight(bucket.item_weight(at).unwrap()), "pos": at });
    let items: Value = bucket.items.iter().enumerate().map(item).collect();
    assert_eq!(bucket.hash, 0);
    json!({
        "id": bucket.id.0,
        "name": map.item_name(bucket.id),
        "type_id": bucket.kind,
        "type_name": map.type_name(bucket.kind),
        "weight": printed_weight(bucket.weight),
        "alg": algorithm,
        "hash": "rjenkins1",
        "items": items,
    })
}

fn printed_step(map: &CrushMap, step: Step) -> Value {
    let choose = |op: &str| {
        let kind = map.type_name(step.arg2.try_into().unwrap());
        json!({ "op": op, "num": step.arg1, "type": kind })
    };
    let set = |op: &str| json!({ "op": op, "num": step.arg1 });
    match step.op {
        Op::TAKE => {
            json!({ "op": "take", "item": step.arg1, "item_name": map.item_name(Item(step.arg1)) })
        }
        Op::EMIT => json!({ "op": "emit" }),
        Op::CHOOSE_FIRSTN => choose("choose_firstn"),
        Op::CHOOSE_INDEP => choose("choose_indep"),
        Op::CHOOSELEAF_FIRSTN => choose("chooseleaf_firstn"),
        Op::CHOOSELEAF_INDEP => choose("chooseleaf_indep"),
        Op::SET_CHOOSE_TRIES => set("set_choose_tries"),
        Op::SET_CHOOSELEAF_TRIES => set("set_chooseleaf_tries"),
        // The tool has names for no others.
        Op(op) => json!({ "opcode": op, "arg1": step.arg1, "arg2": step.arg2 }),
    }
}

fn printed_rule(map: &CrushMap, number: u32, rule: &Rule) -> Value {
    let steps: Value = rule
        .steps
        .iter()
        .map(|step| printed_step(map, *step))
        .collect();
    json!({
        "rule_id": number,
        "rule_name": map.rule_name(number),
        "ruleset": rule.ruleset,
        "type": rule.kind.0,
        "min_size": rule.min_size,
        "max_size": rule.max_size,
        "steps": steps,
    })
}

fn assert_tunables(map: &CrushMap, says: &Value) {
    let tunables = map.tunables();
    for (key, found) in [
        ("choose_local_tries", tunables.choose_local_tries),
        (
            "choose_local_fallback_tries",
            tunables.choose_local_fallback_tries,
        ),
        ("choose_total_tries", tunables.choose_total_tries),
        (
            "chooseleaf_descend_once",
            tunables.chooseleaf_descend_once.into(),
        ),
        ("chooseleaf_vary_r", tunables.chooseleaf_vary_r.into()),
        ("chooseleaf_stable", tunables.chooseleaf_stable.into()),
        ("straw_calc_version", tunables.straw_calc_version.into()),
        ("allowed_bucket_algs", tunables.allowed_bucket_algs),
    ] {
        assert_eq!(found, says[key], "{key}");
    }
}

/// Gives how many buckets have alternative weights or numbers.
fn assert_choose_args(map: &CrushMap, says: &Value) -> usize {
    let says = says.as_object().unwrap();
    assert_eq!(map.choose_args.len(), says.len());
    let mut buckets = 0;
    for (key, args) in &map.choose_args {
        let listed = array(&says[&key.to_string()]);
        assert_eq!(args.buckets.len(), listed.len());
        for says in listed {
            let id = says["bucket_id"].as_i64().unwrap();
            let found = args.bucket(Item(id.try_into().unwrap())).unwrap();
            let ids: Value = found.ids.iter().map(|id| id.0).collect();
            assert_eq!(ids, *says.get("ids").unwrap_or(&json!([])));
            let ratio = |weight: &u32| f64::from(*weight) / 65_536.0;
            let sets = found.weight_sets.iter();
            let sets: Vec<Vec<f64>> = sets.map(|set| set.iter().map(ratio).collect()).collect();
            let listed = says.get("weight_set").map_or(&[][..], |sets| array(sets));
            assert_eq!(sets.len(), listed.len());
            for (set, says) in sets.iter().zip(listed) {
                let says: Vec<_> = array(says)
                    .iter()
                    .map(|weight| weight.as_f64().unwrap())
                    .collect();
                assert_eq!(set.len(), says.len());
                // Printed with fewer digits than there are.
                let differ = set.iter().zip(&says).any(|(a, b)| (a - b).abs() > 1e-9);
                assert!(!differ, "{set:?} {says:?}");
            }
            buckets += 1;
        }
    }
    buckets
}

#[test]
fn maps_say_what_ceph_reads() {
    let (mut releases, mut algorithms, mut alternatives) = (BTreeMap::new(), Vec::new(), 0);
    for vector in vectors(LINES, "CrushWrapper") {
        println!("{}", vector.label);
        let map = CrushMap::decode_all("map", &vector.bytes).unwrap();
        let buckets: Vec<_> = map
            .buckets()
            .map(|bucket| printed_bucket(&map, bucket))
            .collect();
        assert_eq!(buckets.len(), array(&vector.says["buckets"]).len());
        for (found, says) in buckets.iter().zip(array(&vector.says["buckets"])) {
            assert_eq!(found, says);
            algorithms.push(says["alg"].as_str().unwrap().to_owned());
        }
        let rules: Value = map
            .rules()
            .map(|(number, rule)| printed_rule(&map, number, rule))
            .collect();
        assert_eq!(rules, vector.says["rules"]);
        let types: Value = map
            .type_names
            .iter()
            .map(|(id, name)| json!({ "type_id": id, "name": name }))
            .collect();
        assert_eq!(types, vector.says["types"]);
        for device in array(&vector.says["devices"]) {
            let id = Item(device["id"].as_i64().unwrap().try_into().unwrap());
            assert_eq!(map.item_name(id), device["name"].as_str());
            assert_eq!(
                map.device_class(id),
                device.get("class").and_then(Value::as_str)
            );
        }
        assert_tunables(&map, &vector.says["tunables"]);
        alternatives += assert_choose_args(&map, &vector.says["choose_args"]);
        *releases.entry(vector.release).or_insert(0) += 1;
    }
    // Classes and alternative weights are left out for clients before Luminous.
    assert_eq!(
        releases.into_iter().collect::<Vec<_>>(),
        [("jewel".to_owned(), 5), ("nautilus".to_owned(), 6)]
    );
    algorithms.sort();
    algorithms.dedup();
    assert_eq!(algorithms, ["list", "straw2", "tree"]);
    assert!(alternatives > 10, "{alternatives}");
}
