"""What a model can be. One file a format; conversions between two formats are files too."""
