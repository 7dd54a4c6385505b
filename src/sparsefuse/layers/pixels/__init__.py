"""Layers on pictures: fields in, fields out. They read like the SegFormer paper (Xie et al. 2021), section 3."""
