"""What a trained model looked at in a clip: attention rollout, occlusion, and a page that shows both."""

from sparsefuse.explain.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
