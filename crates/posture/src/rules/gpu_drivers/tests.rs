use super::*;
use crate::place::Place;

fn of_image(reference: &str) -> Option<Vec<u64>> {
    image_cuda(&Image::parse(reference, Place::default()))
}

#[test]
fn tags_name_their_cuda_in_the_ways_of_their_makers() {
    assert_eq!(of_image("nvidia/cuda:12.8.1-base"), Some(vec![12, 8, 1]));
    assert_eq!(
        of_image("docker.io/nvidia/cuda:13.0.1-base"),
        Some(vec![13, 0, 1])
    );
    assert_eq!(of_image("a/b:1.2-cu128"), Some(vec![12, 8]));
    assert_eq!(
        of_image("pytorch/pytorch:2.9-cuda12.8-cudnn9-devel"),
        Some(vec![12, 8])
    );
    assert_eq!(of_image("a/b:1.2-cu130-py3"), Some(vec![13, 0]));
    assert_eq!(of_image("a/b:1.2-cu12"), Some(vec![12, 0]));
    for other in [
        "a/b:1.2",
        "a/b:custom-1",
        "a/b:cuda",
        "a/b",
        "a/b:1-cu1x8",
        "nvidia/cuda:latest",
    ] {
        assert_eq!(of_image(other), None, "{other}");
    }
}

#[test]
fn a_requirement_names_the_cuda_that_is_enough_by_itself() {
    let text = "cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=535,driver<536";
    assert_eq!(required_cuda(text), Some(vec![12, 4]));
    assert_eq!(required_cuda("brand=tesla,driver>=470"), None);
    assert_eq!(required_cuda("cuda>=x"), None);
}

#[test]
fn within_a_major_release_an_older_driver_will_do() {
    let driver = Driver {
        node: "a",
        cuda: vec![12, 2],
        release: vec![535, 230],
    };
    assert_eq!(lacks(&driver, &[12, 8]), None);
    assert_eq!(lacks(&driver, &[11, 0]), None);
    assert!(lacks(&driver, &[13, 0]).unwrap().contains("580"));
    let unnamed = Driver {
        release: Vec::new(),
        ..driver
    };
    assert_eq!(lacks(&unnamed, &[12, 8]), None);
    assert!(lacks(&unnamed, &[13, 0]).unwrap().contains("12.2"));
}
