"""What D sees images through: augmentations of what is real and what is generated alike."""

from fastgan.augment.critic import Augment, Critic

__all__ = ["Augment", "Critic"]
