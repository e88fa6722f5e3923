use crate::cluster::{How, exposures};
use crate::estate::Estate;
use crate::scan::Corpus;
use crate::workload::{Given, Source};

fn corpus(text: &str) -> Corpus {
    let mut corpus = Corpus::default();
    corpus.add_yaml("a.yaml", text);
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    corpus
}

#[test]
fn a_nim_of_the_operator_is_a_workload() {
    let corpus = corpus(
        "apiVersion: apps.nvidia.com/v1alpha1\nkind: NIMService\nmetadata: {name: llama, namespace: nim}\nspec:\n  \
         image:\n    repository: nvcr.io/nim/meta/llama-3.1-8b-instruct\n    tag: \"1.8\"\n  authSecret: ngc\n  \
         env: [{name: NIM_LOG_LEVEL, value: debug}]\n  storage: {nimCache: {name: cache}}\n  expose:\n    service: {type: LoadBalancer, port: 8000}\n",
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let workload = &estate.workloads[0];
    let one = &workload.containers[0];
    let image = one.image.as_ref().unwrap();
    assert_eq!(
        image.reference,
        "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8"
    );
    assert_eq!((image.tag, image.place.line), (Some("1.8"), 7));
    assert!(one.runs("nim"));
    assert!(matches!(
        one.variable("NGC_API_KEY").unwrap().value,
        Given::Secret("ngc")
    ));
    assert_eq!(one.mounts[0].source, Source::Claim("cache"));
    let ways = exposures(&estate, workload);
    assert!(
        ways.iter()
            .any(|way| way.how == How::LoadBalancer && way.port == Some(8000)),
        "{ways:?}"
    );
}

#[test]
fn a_predictor_is_a_workload_in_every_form_that_kserve_has() {
    let corpus = corpus(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: a, labels: {team: x}}\nspec:\n  predictor:\n    \
         model:\n      modelFormat: {name: huggingface}\n      storageUri: hf://a/b\n      args: [--trust_remote_code]\n  \
         transformer:\n    containers: [{name: t, image: me/t}]\n---\n\
         apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: b}\nspec: {predictor: {triton: {storageUri: 's3://m'}}}\n---\n\
         apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: c}\nspec: {predictor: {containers: [{name: k, image: 'vllm/vllm-openai:v1'}]}}\n---\n\
         apiVersion: serving.kserve.io/v1alpha1\nkind: ClusterServingRuntime\nmetadata: {name: d}\nspec: {containers: [{name: k, image: 'nvcr.io/nvidia/tritonserver:26.03-py3'}]}\n",
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let servers: Vec<_> = estate
        .workloads
        .iter()
        .map(|one| {
            (
                one.resource.name,
                one.containers[0]
                    .server
                    .as_ref()
                    .map(|server| server.profile.as_str()),
            )
        })
        .collect();
    assert_eq!(
        servers,
        [
            ("a", Some("kserve")),
            ("a", None),
            ("b", Some("triton")),
            ("c", Some("vllm")),
            ("d", Some("triton"))
        ]
    );
    assert!(
        estate.workloads[0].containers[0]
            .flag(&["--trust-remote-code"])
            .is_some()
    );
    assert!(estate.workloads[0].labels.contains(&("team", "x")));
}

#[test]
fn pods_inside_other_kinds_are_found() {
    let pod = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}";
    let corpus = corpus(&format!(
        "apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata: {{name: l}}\nspec: {{leaderWorkerTemplate: {{leaderTemplate: {pod}, workerTemplate: {pod}}}}}\n---\n\
         apiVersion: ray.io/v1\nkind: RayService\nmetadata: {{name: r}}\nspec: {{rayClusterConfig: {{headGroupSpec: {{template: {pod}}}, workerGroupSpecs: [{{template: {pod}}}]}}}}\n---\n\
         apiVersion: apps.nvidia.com/v1alpha1\nkind: NIMPipeline\nmetadata: {{name: p}}\nspec: {{services: [{{name: n, spec: {{image: {{repository: nvcr.io/nim/x/y, tag: '1'}}}}}}]}}\n---\n\
         apiVersion: apps.nvidia.com/v1alpha1\nkind: NIMCache\nmetadata: {{name: k}}\nspec: {{source: {{ngc: {{modelPuller: 'nvcr.io/nim/x/y:1', authSecret: s}}}}}}\n---\n\
         apiVersion: nvidia.com/v1alpha1\nkind: DynamoGraphDeployment\nmetadata: {{name: g}}\nspec: {{services: {{Frontend: {{extraPodSpec: {{mainContainer: {{image: me/f}}}}}}, Worker: {{envFromSecret: hf, extraPodSpec: {{mainContainer: {{image: me/w, args: ['python3 -m x']}}}}}}}}}}\n"
    ));
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let found: Vec<_> = estate
        .workloads
        .iter()
        .map(|one| (one.resource.name, one.containers[0].name))
        .collect();
    assert_eq!(
        found,
        [
            ("l", "c"),
            ("l", "c"),
            ("r", "c"),
            ("r", "c"),
            ("p", "n"),
            ("k", "k"),
            ("g", "Frontend"),
            ("g", "Worker")
        ]
    );
    assert!(
        estate.workloads[..4]
            .iter()
            .all(|one| one.labels == [("a", "b")])
    );
}

#[test]
fn variables_of_config_maps_that_were_read_are_known() {
    let corpus = corpus(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  LEVEL: \"9\"\n  PORT: \"8000\"\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - name: c\n      image: i\n      \
         args: [--port=$(PORT), --host=$(HOST), $$(PORT), --key=$(KEY)]\n      \
         envFrom: [{configMapRef: {name: m}}, {configMapRef: {name: unseen}}, {prefix: X_, configMapRef: {name: m}}]\n      \
         env:\n        - {name: ONE, valueFrom: {configMapKeyRef: {name: m, key: LEVEL}}}\n        \
         - {name: TWO, valueFrom: {configMapKeyRef: {name: other, key: LEVEL}}}\n        \
         - {name: HOST, value: 0.0.0.0}\n        - {name: URL, value: 'http://$(HOST):$(PORT)'}\n        \
         - {name: KEY, valueFrom: {secretKeyRef: {name: s, key: k}}}\n",
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let one = &estate.workloads[0].containers[0];
    assert_eq!(
        one.literal("ONE").map(|(text, place)| (text, place.line)),
        Some(("9", 5))
    );
    assert!(matches!(
        one.variable("TWO").unwrap().value,
        Given::ConfigMap("other")
    ));
    assert_eq!(one.literal("X_LEVEL").unwrap().0, "9");
    assert_eq!(one.literal("URL").unwrap().0, "http://0.0.0.0:8000");
    assert!(matches!(
        one.variable("*").unwrap().value,
        Given::ConfigMap("unseen")
    ));
    let words: Vec<_> = one.words.iter().map(|word| word.text.as_ref()).collect();
    assert_eq!(
        words,
        ["--port=8000", "--host=0.0.0.0", "$(PORT)", "--key=$(KEY)"]
    );
}
