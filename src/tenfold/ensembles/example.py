"""A complete recipe of an ensemble, as ``tenfold ensemble --example`` prints it: the lesson's members."""

from __future__ import annotations

#: Four large architectures, each with two ways of resizing; the vision transformers count twice.
EXAMPLE = """\
# An ensemble for photos of rice: four architectures, each with two ways of resizing, and their blend.
# Train and blend it:   tenfold ensemble recipe.toml -o runs/top
# Answers for a test:   tenfold predict runs/top test_images --like sample_submission.csv -o submission.csv

table = "train.csv"
output = "runs/top"

[schema]
inputs = [{ kind = "image", name = "image_id", folder = "train_images" }]
targets = [{ kind = "category", name = "label" }]
# group = ["farm"]           # rows of one farm stay on one side of every split
# time = "taken"             # or: later rows are held out

[ensemble]
split = "different"          # every member has a random split of its own; or "same"
folds = 0                    # or 5: every row is held out once by every member
blend = "weights"            # as stated below; learned from held-out rows: "greedy", "convex", "best"
soup = false                 # try averaged weights of members of one architecture

[recipe]                     # shared by all members: every option of `tenfold fit`, with _ for -
epochs = 12
batch_size = 64              # what fits the memory at once is planned, and cannot change the answer
lr = 2e-3
augment = "light"
flip = "horizontal"
min_scale = 0.75             # crops keep at least this fraction of a picture
tta = 4                      # four augmented views and the plain one,
plain_weight = 0.25          # which has this fraction of the answer
valid = 0.2
seed = 0

[[member]]
arch = "convnext_large.fb_in22k"
resize = "crop"
item_size = "640x480"        # HEIGHTxWIDTH that pictures are kept at,
image_size = 224             # and what enters the network

[[member]]
arch = "convnext_large.fb_in22k"
resize = "crop"
item_size = "640x480"
image_size = "320x224"

[[member]]
arch = "vit_large_patch16_224"
resize = "squish"
item_size = 480
image_size = 224
weight = 2                   # counts twice in the blend

[[member]]
arch = "vit_large_patch16_224"
resize = "crop"
item_size = "640x480"
image_size = 224
weight = 2

# A grid makes a member of every combination: here of two architectures and two ways of resizing.
[[grid]]
arch = ["swin_large_patch4_window7_224.ms_in22k_ft_in1k"]
resize = ["squish", "crop"]
item_size = [480]
image_size = [224]

[[grid]]
arch = ["swinv2_large_window12_192.ms_in22k"]
resize = ["squish", "crop"]
item_size = [480]
image_size = [192]
"""
