"""Networks: heads that Keras trains, on features, feature maps or images."""
