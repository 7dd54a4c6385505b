"""Slow tests that CI leaves out, by how their names begin: what takes longest, where a test like it is left in.

They have the marker `long`: `pytest -m long` runs them, before a release and after a change to what they are about.
"""

_EXPORTED = "contract/test_contract_export.py::test_an_exported_model_gives_the_same_logits"
_ONNX = "contract/test_contract_onnx.py::test_an_onnx_file_gives_the_same_logits"
_TRITON = "contract/test_contract_backends.py::test_triton_agrees"
_WALK = "docs/test_walk.py::test_a_page_can_be_followed"
_ROOMS = "methods/points/test_point_tokenfusion.py::test_two_scenes_are_learned_by_heart"
_BOXES = "export/points/test_point_export.py::test_the_file_finds_what_the_model_finds"

LONG = (
    "cli/test_demo.py::test_the_demo_as_shipped_needs_both_modalities",
    *(f"{_WALK}[{page}]" for page in ("deploy", "text", "python", "best-model", "detect", "sensors", "segment")),
    # One file of each task is compared, and one of each family of methods.
    "export/pixels/test_pixel_program.py::test_a_file_says_what_the_run_says[segment",
    "methods/pixels/test_pixel_onnx.py::test_an_onnx_graph_gives_the_same_logits[mbt",
    *(f"{_BOXES}[{method}]" for method in ("tokenfusion", "late", "painted")),
    *(f"{_ONNX}[{method}" for method in ("sft", "tokenfusion", "mult", "locomt")),
    *(f"{_EXPORTED}[{case}" for case in ("sft-", "late-unimodal", "locomt-views=r", "locomt-views=l", "mbt-fusion")),
    *(f"{_EXPORTED}[{case}" for case in ("tokenfusion-fusion", "tokenfusion-positions", "mult-causal")),
    "baseline/test_baseline_fit.py::test_it_is_exported_for_any_batch_and_any_lengths[linear]",
    "inference/test_ensemble.py::test_it_exports_as_one_file",
    # Kernels are compiled for one kind of GPU, and run in whole models of one method.
    "layers/ops/test_triton_compiles.py::test_kernels_compile[80]",
    *(f"{_TRITON}[{case}" for case in ("sft-", "mult", "mbt", "locomt", "tokenfusion", "late")),
    # Trainings until something is learnt, one of each kind.
    *(f"{_ROOMS}[{method}]" for method in ("late", "painted", "points")),
    "methods/points/test_point_real_rooms.py::",
    "methods/test_mechanisms.py::test_every_modality_has_a_say[tokenfusion]",
    # Grids, comparisons and searches: one of clips, killed, and one of pictures.
    "experiments/test_grid.py::test_cells_are_silent",
    "experiments/test_pixel_grid.py::test_a_comparison_without_methods_is_of_all[translate",
    "experiments/test_pixel_compare.py::test_a_comparison_puts_all",
    "experiments/test_point_grid.py::test_methods_and_numbers_of_pictures",
    "experiments/test_ensemble_selection.py::test_an_ensemble_is_the_model",
    "budget/test_budget_trials.py::test_processes_run_the_same_trials",
    "budget/test_budget.py::test_over_folds_the_mean",
    "budget/test_budget.py::test_a_trial_that_ended_with_other_contents",
    "budget/test_budget.py::test_a_search_that_ended",
    "parallel/test_ray.py::",
    # Servers as processes of their own: one under load and one that is told to end.
    "serve/test_server.py::test_it_warns_when_others_can_reach_it",
    "serve/test_server.py::test_the_command_line_sets_names",
)
