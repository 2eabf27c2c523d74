// Command psa asks the API server's own Pod Security check whether every pod in the manifests on standard input meets
// the level "restricted". It exits with 1 if one does not, or if there was none.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// manifest is what a Pod and a workload with a pod template have in common, as far as it matters here.
type manifest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Template *corev1.PodTemplateSpec `json:"template"`
	} `json:"spec"`
}

// podIn gives the pod that a document holds, nil if its kind has none.
func podIn(doc []byte) (string, *corev1.PodTemplateSpec, error) {
	var found manifest
	if err := yaml.Unmarshal(doc, &found); err != nil {
		return "", nil, err
	}
	name := found.Kind + " " + found.Name
	if found.Kind != "Pod" {
		return name, found.Spec.Template, nil
	}
	pod := &corev1.PodTemplateSpec{}
	return name, pod, yaml.Unmarshal(doc, pod)
}

func judge(manifests io.Reader) (pods, refused int, err error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return 0, 0, err
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	docs := utilyaml.NewYAMLReader(bufio.NewReader(manifests))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return pods, refused, nil
		}
		if err != nil {
			return pods, refused, err
		}
		name, pod, err := podIn(doc)
		if err != nil {
			return pods, refused, err
		}
		if pod == nil {
			continue
		}
		pods++
		verdict := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
		if !verdict.Allowed {
			refused++
			fmt.Printf("%s: %s\n", name, verdict.ForbiddenDetail())
		}
	}
}

func main() {
	log.SetFlags(0)
	pods, refused, err := judge(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d pods, %d not restricted\n", pods, refused)
	if pods == 0 || refused > 0 {
		os.Exit(1)
	}
}
