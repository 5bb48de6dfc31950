"""The lecture's exercises and two flows of Burn's book, each a command:

    python -m minigrad.examples.NAME [--epochs N] [--seed N] [--seeds N] [--out DIR]

    toy_classifier    points in five classes, trained in three idioms with identical losses
    digits_cnn        a convolutional network for digits of 8 x 8, with a hold-out split
    adversarial       pixels changed until that network sees another digit
    digits_vae        a variational autoencoder that draws digits
    digits_gan        a generator and a discriminator against each other
    score_matching    the gradient of a log-density, learned and followed
    mnist_cnn         MNIST from local files
    mnist_vae         a training flow in eight steps: configuration, artifacts, compact record
    grouped           a model for each group of the data behind one loss
    entity_embedding  categories as vectors beside continuous features

Figures are printed. Pictures and files are written to DIR, examples/NAME by default; pictures need
matplotlib (`pip install 'minigrad[plot]'`), the digits scikit-learn (`'minigrad[data]'`).
`python -m minigrad.study NAME` walks through one step of the training.
"""
